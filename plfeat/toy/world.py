"""The toy world's vocabulary: what exists, what it can do, and what it takes to tell.

Every class is a verb and a noun, and every noun is shared by at least two verbs, so that naming the object
is never enough. The verbs fall into three strata with a declared truth:

    appearance   one frame tells
    set          several frames are needed, in any order
    order        pairs whose frames are the same set, played backwards; only time tells them apart
"""

from dataclasses import dataclass

COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.85, 0.15, 0.15),
    "green": (0.15, 0.70, 0.20),
    "blue": (0.15, 0.30, 0.90),
    "yellow": (0.95, 0.85, 0.15),
    "purple": (0.60, 0.20, 0.75),
    "orange": (0.95, 0.50, 0.10),
}

NOUNS = ("star", "ring", "square", "triangle", "cross", "heart")

STRATA = ("appearance", "set", "order")


@dataclass(frozen=True)
class Action:
    """One class: `phrase` formats the noun into its name; `mirror` is the verb whose frames are ours reversed."""

    verb: str
    noun: str
    stratum: str
    phrase: str
    mirror: str | None = None

    @property
    def name(self) -> str:
        return self.phrase.format(noun=self.noun)


def _actions(verb: str, nouns: str, stratum: str, phrase: str, mirror: str | None = None) -> list[Action]:
    return [Action(verb, noun, stratum, phrase, mirror) for noun in nouns.split()]


ACTIONS: tuple[Action, ...] = (
    *_actions("glowing", "ring star triangle cross", "appearance", "glowing {noun}"),
    *_actions("splitting", "square heart triangle cross", "appearance", "splitting {noun}"),
    *_actions("spinning", "square star cross", "set", "spinning {noun}"),
    *_actions("bouncing", "ring heart triangle", "set", "bouncing {noun}"),
    *_actions("flickering", "triangle cross", "set", "flickering {noun}"),
    *_actions("growing", "ring square", "order", "growing {noun}", mirror="shrinking"),
    *_actions("shrinking", "ring square", "order", "shrinking {noun}", mirror="growing"),
    *_actions("sliding left", "star heart", "order", "sliding {noun} left", mirror="sliding right"),
    *_actions("sliding right", "star heart", "order", "sliding {noun} right", mirror="sliding left"),
)

CLASS_NAMES: tuple[str, ...] = tuple(action.name for action in ACTIONS)


def mirror_of(action: Action) -> Action | None:
    """The class whose videos are this one's played backwards, if there is one."""
    for other in ACTIONS:
        if other.verb == action.mirror and other.noun == action.noun:
            return other
    return None
