"""The frame encoder: the same picture as open_clip's own transform, the same features in any batch."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from plfeat.backbone.load import Backbone
from plfeat.backbone.vision import FrameEncoder
from plfeat.errors import UsageError


def _noise(height: int, width: int, count: int = 1) -> np.ndarray:
    rng = np.random.default_rng(height * 1000 + width)
    coarse = rng.integers(0, 256, (count, height // 4 + 1, width // 4 + 1, 3), dtype=np.uint8)
    return coarse.repeat(4, axis=1).repeat(4, axis=2)[:, :height, :width]


@settings(deadline=None, max_examples=30)
@given(height=st.integers(20, 150), width=st.integers(20, 150))
def test_fit_is_within_two_levels_of_the_reference_transform(height: int, width: int) -> None:
    """Pictures taller than twice their width Pillow resizes in another order; single pixels then differ by up to 16."""
    assume(height < 2 * width)
    cfg = PreprocessCfg(size=64)
    encoder = FrameEncoder(torch.nn.Identity(), cfg)
    frames = _noise(height, width)
    reference = image_transform_v2(cfg, is_train=False)(Image.fromarray(frames[0]))
    found = (encoder.fit(frames).float() / 255 - encoder.pixels.mean) / encoder.pixels.std
    levels = ((found[0] - reference) * encoder.pixels.std * 255).abs()
    assert float(levels.max()) <= 2.01
    assert float(levels.mean()) <= 0.1


def test_padding_the_last_batch_changes_nothing(toy_backbone: Backbone) -> None:
    encoder = FrameEncoder(toy_backbone.model, toy_backbone.preprocess)
    frames = encoder.fit(_noise(64, 64, count=5))
    padded, exact = encoder.encode(frames, batch=16), encoder.encode(frames, batch=5)
    assert padded.shape == exact.shape == (5, 96)
    torch.testing.assert_close(padded, exact, rtol=1e-4, atol=1e-5)


def test_encode_is_the_models_own_encode_image(toy_backbone: Backbone) -> None:
    encoder = FrameEncoder(toy_backbone.model, toy_backbone.preprocess)
    frames = _noise(64, 64, count=4)
    transform = image_transform_v2(toy_backbone.preprocess, is_train=False)
    reference = toy_backbone.model.encode_image(torch.stack([transform(Image.fromarray(f)) for f in frames]))
    torch.testing.assert_close(encoder.encode(encoder.fit(frames), batch=4), reference, rtol=1e-4, atol=1e-5)


def test_a_preprocess_we_cannot_equal_is_refused() -> None:
    with pytest.raises(UsageError, match="longest"):
        FrameEncoder(torch.nn.Identity(), PreprocessCfg(size=64, resize_mode="longest"))
