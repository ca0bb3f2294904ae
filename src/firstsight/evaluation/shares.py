"""A share as a metric."""

from firstsight.run_folder import Metric


def share(name: str, part: int | float, whole: int | float, protocol: str, unit: str = "%") -> tuple[Metric, ...]:
    """The metric part / whole, times 100 where the unit is "%". Nothing where there is no whole to take a part of."""
    if whole == 0:
        return ()
    factor = 100 if unit == "%" else 1
    return (Metric(name=name, value=factor * part / whole, unit=unit, protocol=protocol),)
