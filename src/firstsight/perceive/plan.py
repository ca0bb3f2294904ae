"""Which stages a recording allows, by which method, and why the others are skipped.

Nothing here knows a stage: each says what it needs, what it gives and which role does its work (`stage.Stage`). The stages
are asked in the order of their list, again and again: one that needs what only a later one gives, as the depth of one camera
needs its motion, gets its turn in the next round.
"""

from typing import Literal, NamedTuple

from firstsight import catalogue
from firstsight.errors import InputError
from firstsight.perceive.choice import check_ready, kind
from firstsight.perceive.stage import Stage, sensors_of
from firstsight.perceive.stages.listing import STAGES
from firstsight.recordings.recording import Recording

Stages = tuple[type[Stage], ...]


class Skip(NamedTuple):
    """A stage that the sensors cannot support."""

    name: str
    reason: str


Plan = list[type[Stage] | Skip]


def make_plan(recording: Recording, use: tuple[str, ...] = (), stages: Stages = STAGES) -> Plan:
    """The stages in the order in which they run; `use` names methods that take the place of the stages' own."""
    has, waiting = set(sensors_of(recording)), alternatives(stages)
    rounds: list[Plan] = []
    while True:
        planned: Plan = []
        for name, among in list(waiting.items()):
            stage = best_of(among, has, use)
            if stage is not None:
                del waiting[name]
                has |= stage.gives
                planned.append(stage)
        if not planned:
            break
        rounds.append(planned)
    skips = [Skip(name, why_not(among, has, use)) for name, among in waiting.items()]
    order = list(alternatives(stages))
    first = sorted([*(rounds[0] if rounds else []), *skips], key=lambda planned: order.index(planned.name))
    return [*first, *(stage for later in rounds[1:] for stage in later)]


def waits_for(plan: Plan) -> dict[str, frozenset[str]]:
    """For each stage the names of the earlier ones that give what it needs or heeds. Others may run at the same time."""
    stages = [stage for stage in plan if not isinstance(stage, Skip)]
    return {
        stage.name: frozenset(s.name for s in stages[:number] if s.gives & (stage.needs | stage.heeds))
        for number, stage in enumerate(stages)
    }


def alternatives(stages: Stages) -> dict[str, Stages]:
    """The stages by name, the preferred one of a name first."""
    return {name: tuple(s for s in stages if s.name == name) for name in dict.fromkeys(s.name for s in stages)}


def best_of(among: Stages, has: set[str], use: tuple[str, ...]) -> type[Stage] | None:
    """The first that can run with what there is; one for whose work a method was named goes before."""
    able = [s for s in among if s.needs <= has and not s.without & has and s.method_of(use) is not None]
    named = [s for s in able if s.named_of(use)]
    return next(iter(named or able), None)


def why_not(among: Stages, has: set[str], use: tuple[str, ...]) -> str:
    """What a stage lacks, by the alternatives that come nearest."""
    lacking = [s.needs - has for s in among if s.method_of(use) is not None and not s.without & has]
    fewest = min((len(needs) for needs in lacking if needs), default=0)
    words = dict.fromkeys(" and ".join(sorted(needs)) for needs in lacking if len(needs) == fewest)
    return f"needs {', or '.join(words)}" if fewest else "no method for it"


def scale_of(recording: Recording, use: tuple[str, ...] = ()) -> Literal["metric", "unknown"]:
    """Whether distances of the run are metres: one camera alone cannot know, unless odometry or a trained method tells."""
    scales = [stage.scale(recording, use) for stage in make_plan(recording, use) if not isinstance(stage, Skip)]
    return "unknown" if "unknown" in scales else "metric"


def check_use(use: tuple[str, ...], stages: Stages = STAGES) -> None:
    """Raises InputError for a name that is no method, or none that a stage would take."""
    for name in use:
        if not any(stage.takes(kind(name)) for stage in stages):
            usable = [e.name for e in catalogue.entries() if any(stage.takes(e.load()) for stage in stages)]
            raise InputError(
                f"--use {name}: no stage takes it; use one of {', '.join(usable)}, a trained one's folder, or an ONNX network"
            )
        check_ready(name)


def unused(plan: Plan, use: tuple[str, ...]) -> list[str]:
    """A remark for each named method that does no work in the plan."""
    working = {stage.method_of(use) for stage in plan if not isinstance(stage, Skip)}
    return [f"--use {name}: not used, no stage of this recording takes it" for name in use if name not in working]


def describe_plan(recording: Recording) -> list[tuple[str, str]]:
    """Each stage with its method, or with the reason for which it is skipped."""
    return [
        (stage.name, f"skipped: {stage.reason}" if isinstance(stage, Skip) else str(stage.method_of(())))
        for stage in make_plan(recording)
    ]
