"""plfeat: extract CLIP features of action videos once, ablate in minutes, finetune at the end."""

__version__ = "0.1.0"
