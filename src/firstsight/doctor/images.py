"""Are the images bright, sharp and rich enough, all different, and in order?"""

import cv2
import numpy as np

from firstsight.doctor.motion import is_still
from firstsight.doctor.samples import Samples
from firstsight.doctor.tracking import Grey
from firstsight.run_folder import Finding

FRAME_ORDER = "frame order"
CLIPPED = 0.25  # share of an image that is black or saturated: nothing can be matched there
DARK_LEVEL, BRIGHT_LEVEL = 25.0, 230.0  # mean grey level of an image with little left to see
FLICKER = 0.1  # relative change of brightness between neighbours that matching by brightness does not bear
BLURRED = 0.6  # Crete's blur; sharp images measure 0.2 to 0.45
BLUR_WINDOW_PX = 11  # the paper's low-pass filter
MANY_BLURRED = 0.25
FEW_TRACKED, TOO_FEW_TRACKED = 60, 20  # corners; a pose from fewer is shaky, then arbitrary
SAME_LEVELS = 0.02  # mean difference in grey levels: sensor noise alone makes more
COLOURLESS_LEVELS = 2.0
THUMBNAIL = (32, 24)
SHUFFLED = 0.8  # neighbours that differ this much, relative to distant frames, are no neighbours
MIN_DIFFERENCE_LEVELS = 2.0  # recordings that show one view throughout tell nothing about order


def exposure(samples: Samples) -> Finding:
    images = list(samples.images.values())
    dark, bright = (float(np.median([getattr(p, side) for p in images])) for side in ("dark", "bright"))
    level = float(np.median([p.grey.mean() for p in images]))
    flicker = brightness_change(samples)
    measured = f"mean level {level:.0f} of 255, {dark:.0%} black, {bright:.0%} saturated, {flicker:.0%} flicker"
    advice = ""
    if dark > CLIPPED or level < DARK_LEVEL:
        advice = "too dark: expose longer or light the scene"
    elif bright > CLIPPED or level > BRIGHT_LEVEL:
        advice = "overexposed: expose shorter"
    elif flicker > FLICKER:
        advice = "brightness jumps between frames: fix the exposure"
    return Finding(check="exposure", verdict="note" if advice else "ok", measured=measured, advice=advice)


def brightness_change(samples: Samples) -> float:
    """Typical relative change of the mean level between neighbouring frames."""
    levels = [
        (samples.images[pair.a].grey.mean() + 1, samples.images[pair.b].grey.mean() + 1) for pair in samples.pairs
    ]
    return float(np.median([abs(a - b) / max(a, b) for a, b in levels])) if levels else 0.0


def sharpness(samples: Samples) -> Finding:
    blur = np.array([blur_effect(image.grey) for image in samples.images.values()])
    share = float((blur > BLURRED).mean())
    measured = f"blur {np.median(blur):.2f} (0 sharp, 1 blurred), worst {blur.max():.2f}; {share:.0%} of frames blurred"
    if share <= MANY_BLURRED:
        return Finding(check="sharpness", verdict="ok", measured=measured)
    return Finding(
        check="sharpness",
        verdict="note",
        measured=measured,
        advice="expose shorter, move slower or focus; corners are found less exactly",
    )


def blur_effect(grey: Grey) -> float:
    """Blur from 0 (sharp) to 1: how little neighbouring pixels' differences shrink when the image is blurred again.

    Source: Crete, Dolmiere, Ladret, Nicolas, The Blur Effect (SPIE 2007), equations 1 to 6.
    """
    image = grey.astype(np.float32)
    blurs = []
    for axis, window in ((0, (1, BLUR_WINDOW_PX)), (1, (BLUR_WINDOW_PX, 1))):
        sharp = np.abs(np.diff(image, axis=axis))
        again = np.abs(np.diff(cv2.blur(image, window), axis=axis))
        lost = np.maximum(sharp - again, 0).sum()
        blurs.append(1 - lost / max(sharp.sum(), 1e-6))
    return float(max(blurs))


def texture(samples: Samples) -> Finding:
    tracked = np.array([len(pair.matches.points_a) for pair in samples.pairs])
    sought = np.array([max(pair.matches.sought, 1) for pair in samples.pairs])
    typical = float(np.median(tracked))
    measured = f"{typical:.0f} corners followed per frame, {np.median(tracked / sought):.0%} of those found"
    if typical >= FEW_TRACKED:
        return Finding(check="texture", verdict="ok", measured=measured)
    return Finding(
        check="texture",
        verdict="note" if typical >= TOO_FEW_TRACKED else "unfit",
        measured=measured,
        advice="too few corners for a steady trajectory: more light, more texture, less blur, more frames per second",
    )


def repeated_frames(samples: Samples) -> Finding:
    differences = np.array([difference(samples.images[p.a].grey, samples.images[p.b].grey) for p in samples.pairs])
    share = float((differences < SAME_LEVELS).mean())
    measured = f"{share:.0%} of frames repeat the one before"
    if share == 0:
        return Finding(check="repeated frames", verdict="ok", measured=measured)
    frozen = share == 1
    return Finding(
        check="repeated frames",
        verdict="unfit" if frozen else "note",
        measured=measured,
        advice="frozen stream: record again"
        if frozen
        else "the stream stalls or was resampled: leave repeats out (--frames)",
    )


def difference(a: Grey, b: Grey) -> float:
    """Mean absolute difference in grey levels."""
    return float(cv2.absdiff(a, b).mean())


def frame_order(samples: Samples) -> Finding:
    """Neighbours in time look more alike than distant frames, unless the frames were mixed up."""
    small = {f: cv2.resize(p.grey, THUMBNAIL, interpolation=cv2.INTER_AREA) for f, p in samples.images.items()}
    near = float(np.median([difference(small[pair.a], small[pair.b]) for pair in samples.pairs]))
    starts = [pair.a for pair in samples.pairs]
    half = len(starts) // 2
    far = float(np.median([difference(small[a], small[b]) for a, b in zip(starts, starts[half:], strict=False)]))
    measured = f"neighbours differ by {near:.1f} grey levels, distant frames by {far:.1f}"
    if is_still(samples) or far < MIN_DIFFERENCE_LEVELS or near < SHUFFLED * far:
        return Finding(check=FRAME_ORDER, verdict="ok", measured=measured)
    return Finding(
        check=FRAME_ORDER,
        verdict="unfit",
        measured=f"frames are not in order: {measured}",
        advice="sort the frames by time (file names, timestamps file); or far more frames per second are needed",
    )


def colour(samples: Samples) -> Finding:
    height, width = samples.camera.size
    level = float(np.median([image.colour for image in samples.images.values()]))
    grey = level < COLOURLESS_LEVELS
    return Finding(
        check="images",
        verdict="ok",
        measured=f"{width}x{height}, {'grey' if grey else 'colour'}",
        advice="the map will be grey" if grey else "",
    )
