"""Sentences around a class name: the name at the end, in the middle, and in front."""

TEMPLATES = (
    "a video of {}.",
    "{}",
    "a short clip of someone {}.",
    "footage that shows {}.",
    "what happens here is {}.",
    "the action is {}.",
    "a person was filmed while {}.",
    "in this recording, {} can be seen.",
    "here {} is going on.",
    "the scene shows {} from beginning to end.",
    "we are watching {} in a video.",
    "a camera caught {} as it happened.",
    "{} is what this clip shows.",
    "{}, recorded on video.",
    "{}, seen through a camera.",
    "{} is the action in this scene.",
)
