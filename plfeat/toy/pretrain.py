"""Train the toy CLIP from nothing: `python -m plfeat.toy.pretrain`.

Comes in: nothing but a seed. Goes out: the weights shipped in this package, and `curve.csv`, `curve.png` and
`result.json` under `reports/toy-clip/`. Pictures are drawn from seeds tagged PICTURES, which no downstream video uses.
It takes about 35 minutes on two cores.
"""

import argparse
import csv
import json
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from open_clip import CLIP, SimpleTokenizer
from open_clip.transform import PreprocessCfg
from safetensors.torch import load_file

from plfeat.backbone.pixels import Pixels
from plfeat.backbone.text import TextFeatures, TextTower
from plfeat.toy import clip
from plfeat.toy.captions import POSITIONS, SIZES, STATES, caption, pictures, stray_vocabulary
from plfeat.toy.draw import SIZE, draw
from plfeat.toy.shipped import WEIGHTS
from plfeat.toy.world import COLOURS, NOUNS

PICTURES = 20221204  # the seed domain of pretraining; videos live in plfeat.toy.videos.VIDEOS
HELD_OUT = 1
BATCH = 192
PEAK_RATE = 1.5e-3


def sample(
    domain: list[int], count: int, tower: TextTower, stray: list[str]
) -> tuple[torch.Tensor, torch.Tensor, dict[str, np.ndarray]]:
    """Pictures `[count, 3, H, W]` uint8, token ids `[count, L]` cut at the longest caption, and what they show."""
    rng = np.random.default_rng([PICTURES, *domain])
    scene, truth = pictures(rng, count)
    texts = [caption(rng, {k: int(v[i]) for k, v in truth.items()}, stray) for i in range(count)]
    tokens, _ = tower.tokenize(texts)
    return torch.from_numpy(draw(scene, rng)).permute(0, 3, 1, 2), tokens, truth


def encode_tokens(tower: TextTower, tokens: torch.Tensor) -> torch.Tensor:
    """Sentence features `[N, D]` of token ids; EOT is the highest id there is."""
    features: TextFeatures = tower(tower.token_embedding(tokens), tokens.argmax(dim=1))
    return features.sentence_ND


def contrastive_loss(
    images_BD: torch.Tensor, tokens_BL: torch.Tensor, tower: TextTower, scale: torch.Tensor
) -> torch.Tensor:
    """Each picture names its caption among the distinct ones; a caption shares its mass over its pictures."""
    distinct_UL, which_B = torch.unique(tokens_BL, dim=0, return_inverse=True)
    texts_UD = F.normalize(encode_tokens(tower, distinct_UL).float(), dim=-1)
    logits_BU = scale * F.normalize(images_BD.float(), dim=-1) @ texts_UD.T
    shared_UB = F.one_hot(which_B, len(distinct_UL)).T.float()
    shared_UB = shared_UB / shared_UB.sum(dim=1, keepdim=True)
    return (F.cross_entropy(logits_BU, which_B) + F.cross_entropy(logits_BU.T, shared_UB)) / 2


PROBES = {
    "noun": [f"a photo of a {noun}" for noun in NOUNS],
    "colour": [f"a photo of a {colour} {{noun}}" for colour in COLOURS],
    "position": [f"a photo of a {{noun}} at the {position}" for position in POSITIONS],
    "size": [f"a photo of a {size} {{noun}}" for size in SIZES],
    "state": [f"a photo of a {{colour}} {{noun}} {state}".strip() for state in STATES],
}


@torch.inference_mode()
def held_out_figures(model: CLIP, tower: TextTower, stray: list[str], count: int) -> dict[str, float]:
    """Zero-shot accuracy per attribute and caption retrieval, on pictures never trained on."""
    was_training = model.training
    model.eval()
    images, tokens, truth = sample([HELD_OUT, 0], count, tower, stray)
    seen = F.normalize(model.encode_image(Pixels(PreprocessCfg(size=SIZE)).normalise(images)), dim=-1)
    figures = {}
    for attribute, prompts in PROBES.items():
        hits = 0
        for noun in range(len(NOUNS)):
            for colour in range(len(COLOURS)):
                these = (truth["noun"] == noun) & (truth["colour"] == colour)
                if not these.any():
                    continue
                words = {"noun": NOUNS[noun], "colour": list(COLOURS)[colour]}
                texts = F.normalize(tower.encode([p.format(**words) for p in prompts]).sentence_ND, dim=-1)
                guess = (seen[torch.from_numpy(these)] @ texts.T).argmax(dim=1).numpy()
                hits += int((guess == truth[attribute][these]).sum())
        figures[attribute] = hits / count
    said = F.normalize(encode_tokens(tower, tokens), dim=-1)
    similarity = seen[:512] @ said[:512].T
    target = torch.arange(len(similarity))
    for k in (1, 5):
        figures[f"image_to_text_recall@{k}_of_512"] = _recall(similarity, target, k)
        figures[f"text_to_image_recall@{k}_of_512"] = _recall(similarity.T, target, k)
    model.train(was_training)
    return figures


def _recall(similarity: torch.Tensor, target: torch.Tensor, k: int) -> float:
    return (similarity.topk(k, dim=1).indices == target[:, None]).any(dim=1).float().mean().item()


def train(images_to_see: int, seed: int, out: Path, weights: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    tokenizer = SimpleTokenizer()
    stray = stray_vocabulary(tokenizer.encoder)
    model = clip.untrained()
    tower, frames = TextTower(model, tokenizer), Pixels(PreprocessCfg(size=SIZE))
    trained = [p for p in model.parameters() if p.requires_grad]
    steps = images_to_see // BATCH
    optimiser = torch.optim.AdamW(trained, lr=PEAK_RATE, weight_decay=0.05, betas=(0.9, 0.98), fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, PEAK_RATE, total_steps=steps, pct_start=0.1)
    rows, losses, started = [], [], time.perf_counter()
    for step in range(steps):
        images, tokens, _ = sample([HELD_OUT + 1, seed, step], BATCH, tower, stray)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            seen = model.encode_image(frames.normalise(images))
            loss = contrastive_loss(seen, tokens, tower, model.logit_scale.exp())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        schedule.step()
        model.logit_scale.data.clamp_(max=np.log(100))
        losses.append(loss.item())
        if (step + 1) % 250 == 0 or step + 1 == steps:
            figures = held_out_figures(model, tower, stray, 1024)
            row = {"images": (step + 1) * BATCH, "loss": float(np.mean(losses)), **figures}
            losses.clear()
            rows.append(row)
            rate = row["images"] / (time.perf_counter() - started)
            print(f"{rate:.0f} images/s  " + "  ".join(f"{k} {v:.3f}" for k, v in row.items()), flush=True)
            _write_curve(rows, out)
            clip.save(model, weights)
    stored = load_file(weights)  # the figures are those of the stored, half-precision weights
    model.load_state_dict({name: value.float() for name, value in stored.items()}, strict=False)
    result = {
        "seed": seed,
        "images": steps * BATCH,
        "held_out_pictures": 8192,
        **held_out_figures(model, tower, stray, 8192),
    }
    (out / "result.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


def _write_curve(rows: list[dict[str, float]], out: Path) -> None:
    import matplotlib.pyplot as plt

    with (out / "curve.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows({k: round(v, 4) for k, v in row.items()} for row in rows)
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for name in (*PROBES, "image_to_text_recall@1_of_512"):
        axes.plot([row["images"] / 1000 for row in rows], [row[name] for row in rows], label=name.replace("_", " "))
    axes.set(xlabel="thousand pictures seen", ylabel="held-out accuracy", ylim=(0, 1.02), title="toy CLIP, pretraining")
    figure.legend(loc="outside right upper", fontsize=8)
    figure.savefig(out / "curve.png", dpi=100)
    plt.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("reports/toy-clip"))
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--images", type=int, default=960_000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    train(args.images, args.seed, args.out, args.weights)
