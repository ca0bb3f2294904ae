"""EKF-SLAM: a robot's pose and the landmarks around it in one Gaussian, brought up to date measurement by measurement.

Paper:  Smith, Self, Cheeseman. Estimating Uncertain Spatial Relationships in Robotics. 1990 (the stochastic map);
        Dissanayake, Newman, Clark, Durrant-Whyte, Csorba. A Solution to the SLAM Problem. IEEE T-RA 17(3), 2001;
        Bar-Shalom, Li, Kirubarajan. Estimation with Applications to Tracking and Navigation. 2001 (NEES, gates).
Idea:   mean (r, m_1 .. m_n) and covariance P; r = (x, y, heading), m = (x, y)
        odometry u = (forward, left, turn):  r = r + u, P_rr = F P_rr F' + G M G', P_rm = F P_rm          -> predict()
        an observation z = (range, bearing) = h(r, m) + noise(R):  v = z - h, H = dh/d(r, m)              -> innovate()
        S = H P H' + R = L L',  U = L^-1 H P:  mean + U' L^-1 v,  P - U' U                                -> correct()
        a new landmark m = g(r, z):  P_mm = J_r P_rr J_r' + J_z R J_z', its rows with the rest J_r P_r.   -> augment()
        which landmark: d^2 = v' S^-1 v, in the gate(), and no second landmark is nearly as near         -> associate()
        consistent: e' P^-1 e has the mean of chi-square over many runs, dim(e)                   consistency.py
        Predicting costs O(n), a scan O(n^2) per observation.
Differs: a scan is corrected by as one, linearised where odometry puts the robot. P - U' U equals Joseph's form with
        one product of that size instead of three, symmetric to the last bit; P is kept in blocks, so that predicting
        leaves the map alone. What lies neither in a gate nor far from all of them is left out, and so is what has two
        readings; a landmark seen once stays. Known: where the heading is unsure by more than some degrees, the
        linearisation claims too much (Julier, Uhlmann 2001; Huang, Mourikis, Roumeliotis 2010).
Role:   LandmarkSlam: landmarks are points in the plane. Frames are those of bodies: x forward, y left, bearings to
        the left; the world is the first of them.
Units:  metres and radians, angles from -pi to pi, float64; the noise is that of measurements.py.
"""

from typing import NamedTuple, final

import numpy as np
from jaxtyping import Float64, Int64
from scipy.linalg import solve_triangular

from firstsight.errors import InputError
from firstsight.roles import LandmarkSlam
from firstsight.roles.state import State as Saved
from firstsight.slam.landmarks.consistency import Symmetric
from firstsight.slam.landmarks.measurements import (
    Config,
    Ids,
    Indices,
    Observations,
    Pose,
    check,
    motion_covariance,
    observation_covariance,
)

# in place of a landmark's index
NEW, LEFT_OUT = -1, -2
# nearer than this a bearing says nothing; its derivatives are held finite
MIN_RANGE_M = 1e-3


class State(NamedTuple):
    """A Gaussian over robot and landmarks; "coordinates" are x, y of landmark 0, x, y of landmark 1, and so on.

    Values are never changed in place: states share them.
    """

    robot: Pose
    landmarks: Float64[np.ndarray, "landmarks 2"]
    robot_covariance: Float64[np.ndarray, "3 3"]
    cross_covariance: Float64[np.ndarray, "3 coordinates"]
    map_covariance: Float64[np.ndarray, "coordinates coordinates"]

    @property
    def mean(self) -> Float64[np.ndarray, " size"]:
        """Robot and landmarks in one vector."""
        return np.concatenate([self.robot, self.landmarks.ravel()])

    @property
    def covariance(self) -> Symmetric:
        """The covariance of `mean`."""
        return np.block(
            [[self.robot_covariance, self.cross_covariance], [self.cross_covariance.T, self.map_covariance]]
        )

    def landmark_covariances(self) -> Float64[np.ndarray, "landmarks 2 2"]:
        """The 2x2 blocks on the diagonal of the map's covariance."""
        n = len(self.landmarks)
        return np.einsum("iaib->iab", self.map_covariance.reshape(n, 2, n, 2))


def initial_state() -> State:
    """The robot at the origin of the world, which it defines, and no landmark."""
    return State(np.zeros(3), np.zeros((0, 2)), np.zeros((3, 3)), np.zeros((3, 0)), np.zeros((0, 0)))


def wrapped(angle_rad: np.ndarray | float) -> Float64[np.ndarray, "..."]:
    """The same direction in [-pi, pi)."""
    return np.asarray((angle_rad + np.pi) % (2 * np.pi) - np.pi)


def moved(robot: Pose, motion: Pose) -> Pose:
    """Returns where a motion (forward, left, turn) in the robot's own frame ends."""
    forward_m, left_m, turn_rad = motion
    cos, sin = np.cos(robot[2]), np.sin(robot[2])
    x = robot[0] + cos * forward_m - sin * left_m
    y = robot[1] + sin * forward_m + cos * left_m
    return np.array([x, y, wrapped(robot[2] + turn_rad)])


def motion_jacobians(robot: Pose, motion: Pose) -> tuple[Float64[np.ndarray, "3 3"], Float64[np.ndarray, "3 3"]]:
    """(F, G): the derivatives of `moved` by the robot and by the motion."""
    cos, sin = np.cos(robot[2]), np.sin(robot[2])
    by_robot, by_motion = np.eye(3), np.eye(3)
    by_robot[:2, 2] = -sin * motion[0] - cos * motion[1], cos * motion[0] - sin * motion[1]
    by_motion[:2, :2] = (cos, -sin), (sin, cos)
    return by_robot, by_motion


def predict(state: State, motion: Pose, config: Config) -> State:
    """The robot moves; landmarks do not. O(n)."""
    by_robot, by_motion = motion_jacobians(state.robot, motion)
    noise = by_motion @ motion_covariance(motion, config) @ by_motion.T
    covariance = by_robot @ state.robot_covariance @ by_robot.T + noise
    return state._replace(
        robot=moved(state.robot, motion),
        robot_covariance=(covariance + covariance.T) / 2,
        cross_covariance=by_robot @ state.cross_covariance,
    )


def expected(robot: Pose, landmarks: Float64[np.ndarray, "seen 2"]) -> Observations:
    """h: range and bearing of landmarks from the robot."""
    dx, dy = (landmarks - robot[:2]).T
    return np.stack([np.hypot(dx, dy), wrapped(np.arctan2(dy, dx) - robot[2])], 1)


def observation_jacobian(robot: Pose, landmarks: Float64[np.ndarray, "seen 2"]) -> Float64[np.ndarray, "seen 2 3"]:
    """The derivatives of `expected` by the robot. Those by the landmark are minus its first two columns."""
    dx, dy = (landmarks - robot[:2]).T
    range_m = np.maximum(np.hypot(dx, dy), MIN_RANGE_M)
    zero, one = np.zeros_like(dx), np.ones_like(dx)
    of_range = np.stack([-dx / range_m, -dy / range_m, zero], 1)
    of_bearing = np.stack([dy / range_m**2, -dx / range_m**2, -one], 1)
    return np.stack([of_range, of_bearing], 1)


class Innovation(NamedTuple):
    """Observations of known landmarks, linearised: residual = by_robot e_r + by_landmark e_m + noise, e the error."""

    residual: Float64[np.ndarray, "seen 2"]
    by_robot: Float64[np.ndarray, "seen 2 3"]
    by_landmark: Float64[np.ndarray, "seen 2 2"]
    noise: Float64[np.ndarray, "2 2"]
    landmarks: Indices


def innovate(state: State, observations: Observations, landmarks: Indices, config: Config) -> Innovation:
    """v and H of observations of the landmarks of these indices."""
    seen = state.landmarks[landmarks]
    residual = observations - expected(state.robot, seen)
    residual[:, 1] = wrapped(residual[:, 1])
    by_robot = observation_jacobian(state.robot, seen)
    return Innovation(residual, by_robot, -by_robot[..., :2], observation_covariance(config), landmarks)


def correct(state: State, innovation: Innovation) -> State:
    """The Kalman filter's step for what is linearised, all observations at once. O(n^2)."""
    if not len(innovation.landmarks):
        return state
    projected, spread = project(state, innovation)
    factor = np.linalg.cholesky(spread)
    whitened = solve_triangular(
        factor, np.column_stack([innovation.residual.ravel(), projected]), lower=True, check_finite=False
    )
    residual, of_robot, of_map = whitened[:, 0], whitened[:, 1:4], whitened[:, 4:]
    robot = state.robot + of_robot.T @ residual
    robot[2] = wrapped(robot[2])
    map_covariance = of_map.T @ of_map  # numpy sees A'A and computes one half of it, so it is symmetric
    return State(
        robot,
        state.landmarks + (of_map.T @ residual).reshape(-1, 2),
        state.robot_covariance - of_robot.T @ of_robot,
        state.cross_covariance - of_robot.T @ of_map,
        np.subtract(state.map_covariance, map_covariance, out=map_covariance),
    )


def project(
    state: State, innovation: Innovation
) -> tuple[Float64[np.ndarray, "rows size"], Float64[np.ndarray, "rows rows"]]:
    """(H P, S): only the rows and columns of P that H reads are touched."""
    k, n = len(innovation.landmarks), len(state.landmarks)
    by_robot, by_landmark = innovation.by_robot.reshape(2 * k, 3), innovation.by_landmark
    cross = state.cross_covariance.reshape(3, n, 2)[:, innovation.landmarks].transpose(1, 2, 0)
    rows = state.map_covariance.reshape(n, 2, 2 * n)[innovation.landmarks]
    of_robot = by_robot @ state.robot_covariance + (by_landmark @ cross).reshape(2 * k, 3)
    of_map = by_robot @ state.cross_covariance + (by_landmark @ rows).reshape(2 * k, 2 * n)
    seen = of_map.reshape(2 * k, n, 2)[:, innovation.landmarks]
    spread = of_robot @ by_robot.T + np.einsum("akj,kij->aki", seen, by_landmark).reshape(2 * k, 2 * k)
    return np.column_stack([of_robot, of_map]), with_own(spread, innovation.noise)


def with_own(covariance: Symmetric, own: Float64[np.ndarray, "... 2 2"]) -> Symmetric:
    """A covariance of pairs with the noise that each pair has of its own added to its block; exactly symmetric."""
    k = len(covariance) // 2
    total = covariance.copy()
    total.reshape(k, 2, k, 2)[np.arange(k), :, np.arange(k)] += own
    return (total + total.T) / 2


def update(state: State, observations: Observations, landmarks: Indices, config: Config) -> State:
    """The state after observations of the landmarks of these indices."""
    return correct(state, innovate(state, observations, landmarks, config))


def located(robot: Pose, observations: Observations) -> Float64[np.ndarray, "seen 2"]:
    """g: where landmarks so observed lie."""
    range_m, direction_rad = observations[:, 0], robot[2] + observations[:, 1]
    return robot[:2] + np.stack([range_m * np.cos(direction_rad), range_m * np.sin(direction_rad)], 1)


def location_jacobians(
    robot: Pose, observations: Observations
) -> tuple[Float64[np.ndarray, "seen 2 3"], Float64[np.ndarray, "seen 2 2"]]:
    """(J_r, J_z): the derivatives of `located` by the robot and by the observation."""
    range_m, direction_rad = observations[:, 0], robot[2] + observations[:, 1]
    cos, sin = np.cos(direction_rad), np.sin(direction_rad)
    across = np.stack([-range_m * sin, range_m * cos], 1)
    shift = np.broadcast_to(np.eye(2), (len(observations), 2, 2))
    return np.concatenate([shift, across[..., None]], 2), np.stack([np.stack([cos, sin], 1), across], 2)


def augment(state: State, observations: Observations, config: Config) -> State:
    """The state with a new landmark for each observation."""
    if not len(observations):
        return state
    k = len(observations)
    by_robot, by_observation = location_jacobians(state.robot, observations)
    own = by_observation @ observation_covariance(config) @ by_observation.transpose(0, 2, 1)
    by_robot = by_robot.reshape(2 * k, 3)
    with_robot, with_map = state.robot_covariance @ by_robot.T, by_robot @ state.cross_covariance
    among = with_own(by_robot @ with_robot, own)
    return state._replace(
        landmarks=np.concatenate([state.landmarks, located(state.robot, observations)]),
        cross_covariance=np.column_stack([state.cross_covariance, with_robot]),
        map_covariance=np.block([[state.map_covariance, with_map.T], [with_map, among]]),
    )


def squared_distances(
    state: State, observations: Observations, config: Config
) -> Float64[np.ndarray, "seen landmarks"]:
    """d^2 of every observation to every landmark."""
    n = len(state.landmarks)
    residual = observations[:, None] - expected(state.robot, state.landmarks)
    residual[..., 1] = wrapped(residual[..., 1])
    by_robot = observation_jacobian(state.robot, state.landmarks)
    by_landmark, cross = -by_robot[..., :2], state.cross_covariance.reshape(3, n, 2).transpose(1, 0, 2)
    both = by_robot @ cross @ by_landmark.transpose(0, 2, 1)
    spread = by_robot @ state.robot_covariance @ by_robot.transpose(0, 2, 1) + both + both.transpose(0, 2, 1)
    spread += by_landmark @ state.landmark_covariances() @ by_landmark.transpose(0, 2, 1)
    precision = np.linalg.inv(spread + observation_covariance(config))
    return np.einsum("kna,nab,knb->kn", residual, precision, residual)


def gate(probability: float) -> float:
    """The d^2 that this share of true pairs stays below: chi-square of two dimensions, which has a closed form."""
    return -2 * float(np.log1p(-probability))


def associate(state: State, observations: Observations, config: Config) -> Indices:
    """The landmark that each observation is of, or NEW, or LEFT_OUT; none is given twice. O(n) per observation."""
    k, n = len(observations), len(state.landmarks)
    if not k or not n:
        return np.full(k, NEW)
    squared = squared_distances(state, observations, config)
    nearest, least = squared.argmin(1), squared.min(1)
    clear = least + config.ambiguity_margin <= np.minimum(second(squared), second_claim(squared, nearest))
    found = np.where((least <= gate(config.gate_probability)) & clear, nearest, LEFT_OUT)
    return np.where(least > gate(config.new_probability), NEW, found)


def second(squared: Float64[np.ndarray, "seen landmarks"]) -> Float64[np.ndarray, " seen"]:
    """The second smallest of each row, infinite where there is none."""
    padded = np.column_stack([squared, np.full(len(squared), np.inf)])
    return np.partition(padded, 1, axis=1)[:, 1]


def second_claim(squared: Float64[np.ndarray, "seen landmarks"], nearest: Indices) -> Float64[np.ndarray, " seen"]:
    """The least d^2 of the other observations to each one's nearest landmark, infinite where there is none."""
    claims = squared[:, nearest]
    np.fill_diagonal(claims, np.inf)
    return claims.min(0)


def robot_error(state: State, robot: Pose) -> Pose:
    """The estimate less the truth."""
    error = state.robot - robot
    error[2] = wrapped(error[2])
    return error


@final
class EkfSlam(LandmarkSlam):
    """Takes odometry and scans as they come; `estimate` is what is known so far.

    `step` takes ids of the landmarks on every scan, or on none: then they are associated by distance.
    """

    def __init__(self, config: Config | None = None):
        self.config = config or Config()
        self.estimate = initial_state()
        self._index_of_id: dict[int, int] = {}

    @property
    def ids(self) -> Int64[np.ndarray, " landmarks"]:
        """The ids of the estimate's landmarks, in its order; empty where none were given."""
        return np.array(list(self._index_of_id), np.int64)

    def step(self, motion: Pose, observations: Observations, ids: Ids | None = None) -> Indices:
        """The landmark of each observation made after the motion, or NEW, or LEFT_OUT.

        Raises InputError for numbers that are not finite, ranges not above 0 and ids that are given only sometimes.
        """
        check(motion, observations, ids)
        if len(self.estimate.landmarks) and (ids is None) == bool(self._index_of_id):
            raise InputError("ids are given for some scans only: give them for all, or for none")
        predicted = predict(self.estimate, motion, self.config)
        found = associate(predicted, observations, self.config) if ids is None else self._known(ids)
        seen, new = found >= 0, found == NEW
        state = update(predicted, observations[seen], found[seen], self.config)
        if ids is not None:
            self._index_of_id |= {int(name): len(state.landmarks) + i for i, name in enumerate(ids[new])}
        self.estimate = augment(state, observations[new], self.config)
        return found

    def _known(self, ids: Ids) -> Ids:
        return np.array([self._index_of_id.get(int(name), NEW) for name in ids], np.int64)

    def state(self) -> Saved:
        """The estimate, and the ids of its landmarks."""
        return self.estimate._asdict() | {"ids": self.ids}

    def restore(self, state: Saved) -> None:
        """Become as the instance was whose state this is."""
        self.estimate = State(*(state[name] for name in State._fields))
        self._index_of_id = {int(name): index for index, name in enumerate(state["ids"])}
