"""A store and a list in, what every method is built on out: features of a split, class words, text tower, texts.

Each is made when it is first asked for, and once: what reads no text opens no text tower, and torch is not loaded
before features or texts are asked for. Desks of one store share its text side, whichever fold or words they have.

Shapes: N videos, K videos of a block, V views, T frames, D width.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from plfeat.config import DataConfig
from plfeat.errors import CacheError, DataError, PlfeatError, UsageError
from plfeat.files import sha256_of_json, write_bytes
from plfeat.model.templates import TEMPLATES
from plfeat.recipe import Take
from plfeat.records import UNLABELLED, FrameSet, Listed, Tick, VideoList, silent
from plfeat.shards.hdf5 import pack
from plfeat.shards.lists import list_hash
from plfeat.shards.room import files_in, place
from plfeat.shards.store import TEXT, UNMADE, Rows, Store
from plfeat.shards.texts import Texts, read_texts, text_bytes, text_name
from plfeat.shards.views import Views

if TYPE_CHECKING:
    from plfeat.backbone.text import TextTower

Takes = dict[str, tuple[Take, ...]]
"""What is read of the training videos, `train`, and of those that are tested on, `test`: a take for each view."""

_AT_ONCE = 256  # texts in one pass of the tower


class TextSide:
    """The text half of a store's encoder: the tower that lies in the store, else the one of the weights that made the
    features; and what it reads."""

    def __init__(self, store: Store, pretrained: str | None = None, tick: Tick = silent) -> None:
        self.store, self.pretrained, self.tick = store, pretrained, tick
        self._texts: dict[tuple[tuple[str, ...], tuple[str, ...]], Texts] = {}

    @cached_property
    def tower(self) -> "TextTower":
        self.tick("loading the model", 0, 1)
        tower = self._opened(self._file) if self._file else self._from_weights()
        self.tick("loading the model", 1, 1)
        return tower

    @cached_property
    def sha256(self) -> str:
        """Of the tower, which need not be opened where it lies in the store."""
        return str(self._said["text_sha256"]) if self._said else self.tower.sha256

    @property
    def log_scale(self) -> float:
        """The logarithm of what CLIP multiplies cosines by."""
        return float(self._said["log_scale"]) if self._said else self.tower.log_scale

    def texts(self, words: tuple[str, ...], templates: tuple[str, ...]) -> Texts:
        """As the store has them; made, and kept there if it can be written to, if it has none."""
        if (words, templates) not in self._texts:
            name = text_name(self.sha256, words, templates)
            path = place(self.store.path, TEXT, name)
            there = os.path.lexists(path)
            texts = read_texts(self.store.text(name)) if there else self._make(path, words, templates)
            if bad := texts.bad():
                raise CacheError(f"{path}: {_not_numbers(bad, texts)}; remove the file, and it is made again")
            self._texts[words, templates] = texts
        return self._texts[words, templates]

    def _make(self, path: Path, words: tuple[str, ...], templates: tuple[str, ...]) -> Texts:
        texts = make_texts(self.tower, words, templates, self.store.recipe.dtype, self.tick)
        if bad := texts.bad():
            model = self.store.recipe.encoder["model"]
            raise PlfeatError(f"text features of {model}: {_not_numbers(bad, texts)}; set dtype=float32")
        with suppress(OSError):  # a store may lie on a disk that can only be read
            write_bytes(path, text_bytes(texts))
        return texts

    @cached_property
    def _file(self) -> Path | None:
        """The store's text tower, unless other weights are named. Of several the one that came with the encoder."""
        if self.pretrained is not None:
            return None
        folder = self.store.path
        told = [name for name in self.store.texts if os.path.lexists(place(folder, TEXT, name))]
        names = sorted(name for name in {*files_in(folder, TEXT), *told} if name.startswith("tower-"))
        own = f"tower-{self.store.recipe.source.get('text_sha256', '')[:16]}.safetensors"
        if len(names) > 1 and own not in names:
            raise CacheError(
                f"store {self.store.path}: {len(names)} text towers, {' and '.join(names)}, and recipe.json does not "
                "say which one came with the encoder"
            )
        return self.store.text(own if own in names else names[0]) if names else None

    @cached_property
    def _said(self) -> dict[str, Any]:
        """What the store's tower says about itself; nothing where there is none."""
        from plfeat.backbone.tower import tower_facts

        return tower_facts(self._file) if self._file else {}

    def _opened(self, file: Path) -> "TextTower":
        from plfeat.backbone.tower import open_tower

        return open_tower(file)

    def _from_weights(self) -> "TextTower":
        from plfeat.backbone.load import load
        from plfeat.backbone.plan import plan
        from plfeat.backbone.tower import tower_of

        recipe = self.store.recipe
        made_by, chosen = recipe.encoder, self.pretrained or weights_of(self.store)
        backbone = load(plan(made_by["model"], chosen, **unsaid(recipe.encoder, recipe.preprocess, chosen)))
        for fact in ("image_sha256", "activation"):
            if backbone.about[fact] != made_by[fact]:
                raise CacheError(
                    f"store {self.store.path}: made with {fact} {made_by[fact][:16]}, but {made_by['model']} now has "
                    f"{backbone.about[fact][:16]}; extract again, or load the weights that made it"
                )
        return tower_of(backbone)


def require_any_label(videos: VideoList) -> None:
    if all(row.label == UNLABELLED for row in videos.rows):
        raise DataError(
            f"list {videos.name}: no video has a label; `plfeat eval --zero-shot --names FILE` says which of any names "
            "they show, and a column label in the list makes them videos to train on"
        )


def weights_of(store: Store) -> str:
    """The tag, or the file, of the weights that made a store's features."""
    source = store.recipe.source
    chosen = source.get("pretrained")
    if chosen != "file" and isinstance(chosen, str):
        return chosen
    file = source.get("weights")
    if isinstance(file, str) and Path(file).is_file():
        return file
    raise CacheError(
        f"store {store.path} was made with weights from a file, and keeps no text tower; "
        "name that file with --pretrained FILE"
    )


def unsaid(encoder: Any, preprocess: Any, chosen: str) -> dict[str, Any]:
    """What weights in a file do not say of themselves, as what was made with them has it: activation, preprocess."""
    from plfeat.backbone.names import INCLUDED
    from plfeat.backbone.preprocess import FACTS

    if chosen != INCLUDED and not Path(chosen).is_file():
        return {}
    look = {fact: preprocess[fact] for fact in FACTS}
    return {"activation": encoder["activation"], "preprocess": look}


@dataclass(frozen=True)
class Desk:
    """One fold of a list, over a store. `words` are what the text tower reads for each class; `data` chooses the takes
    that are read, where the store has several."""

    store: Store
    videos: VideoList
    fold: int = 1
    words: tuple[str, ...] = ()  # those of the list, unless given
    templates: tuple[str, ...] = TEMPLATES
    data: DataConfig = field(default_factory=DataConfig)
    side: TextSide | None = None
    title: str = ""  # the list's name and hash
    labelled: bool = True  # the words are those of the list's classes, and every video that is read has a label

    def __post_init__(self) -> None:
        object.__setattr__(self, "title", self.title or f"{self.videos.name}@{list_hash(self.videos)}")
        if not 1 <= self.fold <= self.videos.folds:
            raise UsageError(f"list {self.title}: no fold {self.fold}; it has {self.videos.folds}")
        object.__setattr__(self, "words", self.words or self.videos.words)
        object.__setattr__(self, "side", self.side or TextSide(self.store))

    @property
    def where(self) -> str:
        """For messages."""
        return f"list {self.title}" + (f", fold {self.fold}" if self.videos.folds > 1 else "")

    @property
    def classes(self) -> tuple[str, ...]:
        return self.words

    @property
    def text(self) -> TextSide:
        assert self.side is not None
        return self.side

    @property
    def texts(self) -> Texts:
        return self.text.texts(self.words, self.templates)

    @property
    def tower(self) -> "TextTower":
        return self.text.tower

    @property
    def log_scale(self) -> float:
        return self.text.log_scale

    @property
    def evaluation(self) -> str:
        """The split that is reported on."""
        return self.videos.evaluation(self.fold)

    def has_features(self, split: str) -> bool:
        """Whether any video of a split can be read."""
        keys = [row.video for row in self.videos.of(split, self.fold) if row.video]
        takes = self.takes["train" if split == "train" else "test"]
        return bool(keys) and bool(np.logical_and.reduce([self.store.rows(keys, take).has for take in takes]).any())

    def at(self, fold: int) -> "Desk":
        """Another fold, at the same desk."""
        return replace(self, fold=fold)

    def folds(self) -> list["Desk"]:
        return [self.at(fold) for fold in range(1, self.videos.folds + 1)]

    @cached_property
    def takes(self) -> Takes:
        """What `data` asks for; else the most random views that every such video of the list has, of any fold; else
        the centre."""
        self._require_promised()
        frames = self._frames
        if frames is None:
            return dict.fromkeys(("train", "test"), (self._dense,))
        return {
            "train": self._views(frames, "train", self.data.views),
            "test": self._views(frames, "test", self.data.test_views),
        }

    def _require_promised(self) -> None:
        """A list whose takes were never made is that of an extraction which did not finish; nobody would know which
        views it was to have."""
        if self.videos.name not in self.store.lists or not self.store.takes:
            return
        promised = (take for takes in self.store.lists[self.videos.name].takes.values() for take in takes)
        if lack := sorted({take.name for take in promised} - {take.name for take in self.store.takes}):
            raise CacheError(
                f"store {self.store.path} has no {lack[0]} of any video, which list {self.title} should have; run the "
                "same `plfeat extract` again"
            )

    @property
    def read(self) -> dict[str, int | None]:
        """The same, as the settings of a run."""
        return {
            "frames": self.takes["test"][0].frames if self._frames else None,
            "views": len(self.takes["train"]),
            "test_views": len(self.takes["test"]),
        }

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What a record says of the features, the list and the fold."""
        return {
            "dataset": self.videos.name,
            "list": self.title,
            "fold": self.fold,
            "folds": self.videos.folds,
            **({"divided": self.videos.how} if self.videos.how else {}),
            "fingerprint": self.store.fingerprint,
            "recipe": self.store.recipe.as_dict(),
            "takes": {of: [take.name for take in takes] for of, takes in self.takes.items()},
        }

    @property
    def identity(self) -> list[Any]:
        """What differs wherever another training would come of the same settings, but for the videos themselves."""
        takes = {of: [take.name for take in takes] for of, takes in self.takes.items()}
        return [self.store.fingerprint, self.fold, takes, self.words, self.templates]

    def rows_sha256(self, frames: FrameSet) -> str:
        """A hash of the videos that were read and their labels, in order."""
        keys = {row.name: row.video for row in self.videos.rows}
        read = [[keys[name], label] for name, label in zip(frames.id_N, frames.label_N.tolist(), strict=True)]
        return sha256_of_json(read)

    def split(self, name: str, pooled: bool = False, room: int | None = None) -> FrameSet:
        """The videos of a split that have features in every view, by name; all features are numbers, all labels are
        classes. `pooled`: of each view only the mean of its frames, as float32; never all frames are in memory. With
        `room`, features of more bytes stay in the store."""
        listed, takes = self._listed(name), self.takes["train" if name == "train" else "test"]
        read = [self.store.rows([row.video for row in listed], take) for take in takes]
        for rows in read:
            self._require_made(listed, rows)
        has_N = np.logical_and.reduce([rows.has for rows in read])
        if not has_N.any():
            raise CacheError(f"{self.where}, split {name!r}: no video has features; the store's ledger.jsonl says why")
        kept = [row for row, has in zip(listed, has_N.tolist(), strict=True) if has]
        views = Views.of(read)
        stays = room is not None and not pooled and views.nbytes > room
        frames = FrameSet(
            features_NVTD=views if stays else self._features(name, listed, read, has_N, pooled),
            label_N=np.array([row.label for row in kept], np.int64),
            id_N=tuple(row.name for row in kept),
            missing=len(listed) - len(kept),
            group_N=tuple(row.group or row.name for row in kept) if any(row.group for row in kept) else (),
            remark=f"split {name}: features of {views.nbytes / 1e9:.3g} GB are read from the store" if stays else "",
        )
        if self.labelled:
            self._require_labels(name, frames)
        return frames

    def _features(
        self, name: str, listed: list[Listed], read: list[Rows], has_N: NDArray[np.bool_], pooled: bool
    ) -> NDArray[Any]:
        (length, width), at_N = read[0].shape, np.cumsum(has_N) - 1
        out: NDArray[Any] | None = None
        bad: list[int] = []
        for view, rows in enumerate(read):
            for where_K, block_KTD in rows.blocks():
                if not (has_K := has_N[where_K]).all():
                    where_K, block_KTD = where_K[has_K], block_KTD[has_K]
                block_KTD = _means(block_KTD) if pooled else block_KTD
                if out is None:
                    shape = (int(has_N.sum()), len(read), 1 if pooled else length, width)
                    out = np.empty(shape, block_KTD.dtype)
                out[at_N[where_K], view] = block_KTD
                bad += where_K[~np.isfinite(block_KTD).all(axis=(1, 2))].tolist()
        if bad:
            raise CacheError(
                f"store {self.store.path}, {self.where}, split {name!r}: {len(set(bad))} videos have features that are "
                f"not numbers, the first is {listed[min(bad)].name!r}; extract them again, in float32 if float16 was "
                "too small"
            )
        assert out is not None
        return out

    def _listed(self, name: str) -> list[Listed]:
        listed = self.videos.of(name, self.fold)
        if not listed:
            if self.labelled:
                require_any_label(self.videos)
            there = self.videos.splits(self.fold)
            missing = (
                ""
                if {"train", self.evaluation} <= set(there)
                else ("; --split 70/10/20 divides the videos, --folds 5 makes five folds of them")
            )
            raise DataError(f"{self.where}: no split {name!r}; it has {', '.join(there) or 'none'}{missing}")
        return listed

    def _require_made(self, listed: list[Listed], rows: Rows) -> None:
        pairs = zip(listed, rows.status_N.tolist(), strict=True)
        lacking = [row.name for row, status in pairs if row.video and status == UNMADE]
        if lacking:
            raise CacheError(
                f"store {self.store.path} has no {rows.take.name} of {len(lacking)} videos of list {self.title}, the "
                f"first is {lacking[0]!r}; run the same `plfeat extract` again"
            )

    def _require_labels(self, name: str, frames: FrameSet) -> None:
        require_any_label(self.videos)
        odd = (frames.label_N < 0) | (frames.label_N >= len(self.words))
        if odd.any():
            first = int(odd.argmax())
            raise CacheError(
                f"{self.where}, split {name!r}: {int(odd.sum())} videos have labels outside 0 to "
                f"{len(self.words) - 1}, the first is {frames.id_N[first]!r} with {frames.label_N[first]}; extract "
                "again from lists that say every video's class"
            )

    def _keys(self, of: str) -> list[str]:
        """Of the training videos of any fold, or of the others."""
        wanted = {"train"} if of == "train" else {"val", "test"}
        return [row.video for row in self.videos.rows if row.video and wanted & set(row.split)]

    @cached_property
    def _frames(self) -> int | None:
        """How many frames a view has. Nothing where only dense features are there."""
        centres = [take for take in self.store.takes if take.kind == "centre" and take.output == "features"]
        counts = sorted(take.frames for take in centres)
        if self.data.frames is not None:
            if self.data.frames not in counts:
                raise UsageError(
                    f"data.frames={self.data.frames}: store {self.store.path} has "
                    f"{' and '.join(map(str, counts)) or 'no'} frames of a video"
                )
            return self.data.frames
        keys = [*self._keys("train"), *self._keys("test")]
        whole = [take for take in centres if not self.store.lacks(keys, take)]
        if len(whole) > 1 and self.videos.name in self.store.lists:
            own = {take for takes in self.store.lists[self.videos.name].takes.values() for take in takes}
            whole = [take for take in whole if take in own] or whole
        if len(whole) > 1:
            said = " or ".join(f"data.frames={take.frames}" for take in sorted(whole, key=lambda take: take.frames))
            raise UsageError(f"store {self.store.path} has several numbers of frames; say --set {said}")
        if whole or centres:
            return (whole or centres)[0].frames
        return None

    @property
    def _dense(self) -> Take:
        found = [take for take in self.store.takes if take.kind == "dense" and take.output == "features"]
        if len(found) != 1:
            raise CacheError(f"store {self.store.path} holds no features of segments; run `plfeat extract`")
        return found[0]

    def _views(self, frames: int, of: str, wanted: int | None) -> tuple[Take, ...]:
        centre = (Take("centre", frames),)
        if wanted == 1:
            return centre
        best = max(self._random(frames, self._keys(of)), key=len, default=())
        if wanted is None:
            return best if len(best) > 1 else centre
        if len(best) < wanted:
            key = "data.views" if of == "train" else "data.test_views"
            raise UsageError(
                f"{key}={wanted}: store {self.store.path} has {max(1, len(best))} of every such video of list "
                f"{self.title}; `plfeat extract` with --{'views' if of == 'train' else 'test-views'} {wanted} adds more"
            )
        return best[:wanted]

    def _random(self, frames: int, keys: list[str]) -> Iterator[tuple[Take, ...]]:
        """For each way in which random views were drawn, those that every video has."""
        there = {take for take in self.store.takes if take.kind == "random" and take.output == "features"}
        ways = sorted({(take.seed, take.augment) for take in there if take.frames == frames})
        for seed, augment in ways:
            views: list[Take] = []
            for number in count():
                take = Take("random", frames, seed, number, augment)
                if take not in there or self.store.lacks(keys, take):
                    break
                views.append(take)
            yield tuple(views)


def _means(block_KTD: NDArray[Any]) -> NDArray[np.float32]:
    """Of each video's frames `[K, 1, D]`, to the bit as a device that trains would make them."""
    import torch

    block = torch.from_numpy(block_KTD if block_KTD.flags.writeable else block_KTD.copy())
    means: NDArray[np.float32] = block.mean(dim=1, keepdim=True, dtype=torch.float32).numpy()
    return means


def make_texts(
    tower: "TextTower", words: tuple[str, ...], templates: tuple[str, ...], dtype: str, tick: Tick = silent
) -> Texts:
    """Every class in every template, as the tower sees it."""
    import torch

    sentences = [template.replace("{}", name) for name in words for template in templates]
    tokens, embeddings, states, pooled, lengths = [], [], [], [], []
    for start in range(0, len(sentences), _AT_ONCE):
        tick("encoding texts", start, len(sentences))
        ids_NL, eot_N = tower.tokenize(sentences[start : start + _AT_ONCE])
        with torch.inference_mode():
            embedded_NLW = tower.embed(ids_NL)
            features = tower(embedded_NLW, eot_N)
        real_NL = torch.arange(ids_NL.shape[1]) <= eot_N[:, None]
        tokens.append(ids_NL[real_NL].numpy().astype(np.int32))
        embeddings.append(pack(embedded_NLW.cpu()[real_NL].numpy(), dtype))
        states.append(pack(features.words_NLW.cpu()[real_NL].numpy(), dtype))
        pooled.append(pack(features.sentence_ND.cpu().numpy(), dtype))
        lengths.append((eot_N + 1).numpy())
    tick("encoding texts", len(sentences), len(sentences))
    return Texts(
        token_S=np.concatenate(tokens),
        embedding_SW=np.concatenate(embeddings),
        word_SW=np.concatenate(states),
        sentence_ND=np.concatenate(pooled),
        text_ptr=np.cumsum(np.concatenate([[0], *lengths]), dtype=np.int64),
        classes=words,
        templates=templates,
        tower=tower.sha256,
    )


def _not_numbers(bad: list[str], texts: Texts) -> str:
    return f"{len(bad)} of {len(texts.sentence_ND)} texts have values that are not numbers, the first is {bad[0]!r}"
