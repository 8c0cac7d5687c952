"""Seven bodies of gymnasium's collection, animated and rendered by MuJoCo, in eight motions.

*What* is the body, *how* the motion of the whole body through the picture. Limbs are simulated
under random torques, while the body as a whole is carried through the scene. Bodies share floor,
light and camera, and colours are random: nothing but the body tells *what*. Ways are symmetrical
around the middle frame, which tells no *how*.

Shape legend: T frames.
"""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

#: Bodies, each with how many positions and velocities of its state are those of its root.
BODIES = {
    'ant': (7, 6),
    'half_cheetah': (3, 3),
    'hopper': (3, 3),
    'humanoid': (7, 6),
    'inverted_double_pendulum': (1, 1),
    'swimmer': (3, 3),
    'walker2d': (3, 3),
}
MOTIONS = ('left', 'right', 'up', 'down', 'turn_left', 'turn_right', 'coming', 'going')
SPLITS = {'train': 0, 'val': 1}
REQUIREMENTS = 'pip install -r benchmarks/worlds/requirements.txt'

_SPEED = (0.15, 0.35)  # frame widths per second, as in the demo
_TURNS = (0.10, 0.25)  # turns per second
_APPROACH = (0.20, 0.45)  # doublings of the size per second
_RADIUS = (0.26, 0.38)  # of a body in the middle of its way, in frame widths
_FIELD = 45.0  # vertical, degrees
_DEPTH = 8.0  # radii of the body that the floor lies below it


@dataclass(frozen=True)
class WorldSpec:
    """Everything that decides the content of a dataset.

    Args:
        seed: the same seed gives the same states and scenes.
        num_train: training clips; bodies and motions are dealt out in turn.
        num_val: validation clips, of other random streams.
        frames: video frames of a clip.
        fps: frames per second.
        size: height and width, pixels.
        contrast: of the floor, 0 (one colour) to 1.
    """

    seed: int = 0
    num_train: int = 4032
    num_val: int = 616
    frames: int = 24
    fps: int = 8
    size: int = 64
    contrast: float = 1.0

    def labels(self, index: int) -> tuple[int, int]:
        """Numbers of motion and body of a clip: every 56 clips hold each pair once."""
        return index % len(MOTIONS), index // len(MOTIONS) % len(BODIES)


def require_simulator() -> Path:
    """The folder with the bodies' models.

    Raises:
        ModuleNotFoundError: if MuJoCo or gymnasium is missing; says what to install.
    """
    found = {name: importlib.util.find_spec(name) for name in ('mujoco', 'gymnasium')}
    missing = [name for name, spec in found.items() if spec is None]
    if missing:
        raise ModuleNotFoundError(f'{" and ".join(missing)} missing: {REQUIREMENTS}')
    # Without a display; must be said before the import of MuJoCo.
    os.environ.setdefault('MUJOCO_GL', 'egl')
    spec: Any = found['gymnasium']
    return Path(spec.submodule_search_locations[0]) / 'envs/mujoco/assets'


@lru_cache(maxsize=len(BODIES))
def load_body(name: str, size: int) -> tuple[Any, Any, Any, float]:
    """Model, data, renderer, and radius (metres) of a body over a floor of our own."""
    models = require_simulator()
    import mujoco

    spec = mujoco.MjSpec.from_file(str(models / f'{name}.xml'))
    for geom in list(spec.worldbody.geoms):
        spec.delete(geom)
    spec.add_texture(
        name='squares', type=mujoco.mjtTexture.mjTEXTURE_2D, width=64, height=64,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_CHECKER, rgb1=[0, 0, 0], rgb2=[1, 1, 1],
    )  # fmt: skip
    material = spec.add_material(name='squares', texrepeat=[14, 14])
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = 'squares'
    spec.worldbody.add_geom(
        name='ground', type=mujoco.mjtGeom.mjGEOM_PLANE, size=[40, 40, 1], material='squares'
    )
    spec.option.gravity = [0, 0, 0]
    spec.option.disableflags |= mujoco.mjtDisableBit.mjDSBL_CONTACT
    model = spec.compile()
    model.vis.global_.fovy = _FIELD
    model.vis.quality.offsamples = 0
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    centre = data.subtree_com[1]
    own = model.geom_bodyid > 0
    reach = np.linalg.norm(data.geom_xpos[own] - centre, axis=1) + model.geom_rbound[own]
    renderer = mujoco.Renderer(model, size, size)
    for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_SKYBOX,
                 mujoco.mjtRndFlag.mjRND_REFLECTION):  # fmt: skip
        renderer.scene.flags[flag] = 0
    return model, data, renderer, float(reach.max())


def render_clip(spec: WorldSpec, split: str, index: int) -> tuple[np.ndarray, int, int]:
    """Simulate and render one clip.

    Returns:
        Frames, uint8 RGB ``(T, size, size, 3)``, and the numbers of motion and body.
    """
    motion, body = spec.labels(index)
    name = list(BODIES)[body]
    scene, rng = draw_scene(spec, split, index)
    model, data, renderer, radius = load_body(name, spec.size)
    import mujoco

    mujoco.mj_resetData(model, data)
    _paint(model, scene)
    camera = mujoco.MjvCamera()
    camera.azimuth, camera.elevation = scene.azimuth, scene.elevation
    seen = 2 * np.tan(np.radians(_FIELD / 2))  # frame widths at distance 1
    camera.distance = radius / (scene.radius * seen)
    mujoco.mj_forward(model, data)
    centre = data.subtree_com[1].copy()
    camera.lookat = centre
    model.geom('ground').pos[2] = centre[2] - _DEPTH * radius
    axes = camera_axes(camera.azimuth, camera.elevation)
    own, frames, steps = model.geom_bodyid > 0, [], _steps_per_frame(model, spec.fps)
    force = np.zeros(model.nu)
    for across, along, turn, nearer in scene.ways:
        force = _shake(model, data, BODIES[name], force, steps, rng)
        distance = camera.distance * (1 - 2.0**-nearer)
        move = np.array([across, along, 0.0]) * camera.distance * 2.0**-nearer * seen
        move[2] = distance
        _carry(data, own, centre, axes.T @ move, 2 * np.pi * turn)
        renderer.update_scene(data, camera)
        frames.append(renderer.render())
    return np.stack(frames), motion, body


class Scene(NamedTuple):
    """What is drawn for a clip before its limbs are shaken."""

    body: np.ndarray
    """Its colour."""
    floor: np.ndarray
    """The brighter colour of the floor."""
    azimuth: float
    elevation: float
    radius: float
    """Of the body in the middle of its way, in frame widths."""
    ways: np.ndarray
    """See ``path``."""


def draw_scene(spec: WorldSpec, split: str, index: int) -> tuple[Scene, np.random.Generator]:
    """Scene of a clip, and the generator that goes on with its limbs; needs no simulator."""
    rng = np.random.default_rng([spec.seed, SPLITS[split], index])
    scene = Scene(
        body=rng.uniform(0.4, 1.0, 3),
        floor=spec.contrast * rng.uniform(0.3, 1.0, 3),
        azimuth=rng.uniform(0, 360),
        elevation=-rng.uniform(15, 35),
        radius=rng.uniform(*_RADIUS),
        ways=path(spec.labels(index)[0], spec, rng),
    )
    return scene, rng


def path(motion: int, spec: WorldSpec, rng: np.random.Generator) -> np.ndarray:
    """Where a body is: right and up in frame widths, turns, doublings of its size; ``(T, 4)``."""
    start = np.array([*rng.uniform(-0.2, 0.2, 2), rng.uniform(), rng.uniform(-0.3, 0.3)])
    axis, sign = {
        'left': (0, -1), 'right': (0, 1), 'up': (1, 1), 'down': (1, -1), 'turn_left': (2, 1),
        'turn_right': (2, -1), 'coming': (3, 1), 'going': (3, -1),
    }[MOTIONS[motion]]  # fmt: skip
    speed = sign * rng.uniform(*(_SPEED, _SPEED, _TURNS, _APPROACH)[axis])
    times = (np.arange(spec.frames) - (spec.frames - 1) / 2) / spec.fps
    states = np.tile(start, (spec.frames, 1))
    states[:, axis] += speed * times
    return states


def camera_axes(azimuth: float, elevation: float) -> np.ndarray:
    """Right, up and towards the camera, as rows, in the world; angles in degrees as MuJoCo's."""
    a, e = np.radians([azimuth, elevation])
    forward = np.array([np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)])
    right = np.array([np.sin(a), -np.cos(a), 0.0])
    return np.stack([right, np.cross(right, forward), -forward])


def _carry(data: Any, own: np.ndarray, centre: np.ndarray, move: np.ndarray, turn: float) -> None:
    """Turn all geometry of the body about the vertical through its centre, then move it."""
    c, s = np.cos(turn), np.sin(turn)
    rotation = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    data.geom_xpos[own] = (data.geom_xpos[own] - centre) @ rotation.T + centre + move
    turned = rotation @ data.geom_xmat[own].reshape(-1, 3, 3)
    data.geom_xmat[own] = turned.reshape(-1, 9)


def _shake(
    model: Any,
    data: Any,
    root: tuple[int, int],
    force: np.ndarray,
    steps: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Simulate a frame's time under torques that wander, the root held; returns the torques."""
    import mujoco

    positions, velocities = root
    low, high = np.minimum(model.actuator_ctrlrange.T, 0)[0], model.actuator_ctrlrange[:, 1]
    force = 0.7 * force + 0.7 * rng.normal(size=model.nu)
    data.ctrl[:] = np.clip(force, -1, 1) * np.maximum(np.abs(low), high) * 0.3
    held = data.qpos[:positions].copy()
    for _ in range(steps):
        mujoco.mj_step(model, data)
        data.qpos[:positions] = held
        data.qvel[:velocities] = 0
    mujoco.mj_forward(model, data)
    return force


def _steps_per_frame(model: Any, fps: int) -> int:
    return max(1, round(1 / fps / model.opt.timestep))


def _paint(model: Any, scene: Scene) -> None:
    """One colour for the body, another for the floor's squares."""
    own = model.geom_bodyid > 0
    model.geom_matid[own] = -1
    model.geom_rgba[own] = [*scene.body, 1]
    model.geom_rgba[~own] = [*scene.floor, 1]
