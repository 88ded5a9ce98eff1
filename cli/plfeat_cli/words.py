"""Numbers as people say them."""


def size(count: int) -> str:
    value = float(count)
    for unit in ("B", "KB", "MB", "GB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB"


def duration(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    minutes, rest = divmod(rest, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def rate(count: float, seconds: float) -> str:
    """So many a second; of slow things, how long one takes."""
    if count < 0.1 * seconds:
        return f"{duration(seconds / count)} each"
    return f"{count / seconds:,.0f}/s" if count >= 10 * seconds else f"{count / seconds:.2g}/s"
