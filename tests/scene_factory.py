"""A scene to start from in tests."""

import dataclasses
from typing import Any

import numpy as np

from testbed.renderer import Background, Scene


def make_scene(**changes: Any) -> Scene:
    scene = Scene(
        shape="circle",
        color="red",
        rgb=(225.0, 35.0, 35.0),
        background=Background("plain", "gray", (128.0, 128.0, 128.0), 0.0, 32.0, (0.0, 0.0)),
        motion="still",
        camera_motion="",
        path=np.asarray([[20.0, 40.0], [21.0, 40.0]]),
        radius=np.asarray([9.0, 9.0]),
        camera=np.asarray([[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]]),
    )
    return dataclasses.replace(scene, **changes)
