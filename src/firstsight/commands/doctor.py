"""`firstsight doctor`: is this recording, or this installation, fit for use?"""

import sys
from collections.abc import Sequence
from typing import Annotated

from tyro.conf import Positional

from firstsight.commands.parsing import DepthPerMetre, FovDeg, Frames, Switch, option, parse


def main(arguments: Sequence[str]) -> None:
    parse(doctor, "doctor", arguments)


def doctor(
    source: Positional[
        Annotated[str | None, option("[SOURCE]", "A recording; without one, this installation is examined.")]
    ] = None,
    /,
    frames: Frames = None,
    fov_deg: FovDeg = None,
    depth_per_metre: DepthPerMetre = None,
    json: Switch = False,
) -> None:
    """Check whether a recording, or this installation, is fit for use.

    Says what was measured, what each stage will do and which command to use. The exit status is 1 for an unfit recording.

    Args:
        json: Print what was found as JSON.
    """
    if source is None:
        from firstsight.installation import print_installation

        print_installation(as_json=json)
        return
    from firstsight.doctor import Given, print_findings
    from firstsight.perceive.plan import describe_plan

    given = Given(frames=frames, fov_deg=fov_deg, depth_per_metre=depth_per_metre)
    sys.exit(print_findings(source, given, plan=describe_plan, as_json=json))
