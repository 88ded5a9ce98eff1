"""Which videos belong together, as far as owners say it in a video's name: the name in, a group out.

Videos of a group show the same people, room or film: split between training and testing they would make a test easy,
and they are no independent evidence.
"""

import re

_UCF = re.compile(r"v_(.+)_(g[0-9]+)_c[0-9]+", re.IGNORECASE)
_KINETICS = re.compile(r"([A-Za-z0-9_-]{11})_[0-9]{6}_[0-9]{6}")
_HMDB_TAGS = re.compile(r"_[hulf]_[cn]m_np[0-9]+_(?:fr|ba|le|ri)_(?:goo|med|bad)_[0-9]+")


def of_ucf(stem: str, label: str) -> str:
    """`of_ucf("v_YoYo_g08_c01", "YoYo") == "YoYo_g08"`: groups are counted within their class."""
    form = _UCF.fullmatch(stem)
    return f"{label}_{form[2].lower()}" if form else ""


def of_hmdb(stem: str, label: str) -> str:
    """The film that a clip was cut from: what stands before the class, `film_<class>_u_nm_np1_ba_goo_0`. Films may be
    called like the class, so its last mention counts. A name that does not say the class is a film of its own."""
    return stem[: max(stem.rfind(f"_{label}_"), 0)] or stem


def of_name(stem: str, folder: str) -> str:
    """Of a video whose owner is not known: by the rule of the owner whose form its name has, else none."""
    if form := _KINETICS.fullmatch(stem):
        return form[1]
    if form := _UCF.fullmatch(stem):
        return f"{form[1]}_{form[2].lower()}"
    tags, label = _HMDB_TAGS.search(stem), folder.replace(" ", "_")
    if tags and tags.end() == len(stem) and label and stem[: tags.start()].endswith(f"_{label}"):
        return of_hmdb(stem, label)
    return ""
