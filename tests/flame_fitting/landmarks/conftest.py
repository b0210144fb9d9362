"""Networks for every test of landmarks; tests that need them skip where they are not installed."""

import pytest

from flame_fitting.landmarks.landmarker import FaceLandmarker, FaceLandmarks
from flame_fitting.landmarks.weights import LandmarkWeights, landmark_weights
from geometry.errors import InputError
from tests.flame_fitting.landmarks.simulated import scene


@pytest.fixture(scope="session")
def weights() -> LandmarkWeights:
    try:
        return landmark_weights()
    except InputError:
        pytest.skip("no landmark weights: run `mien models install`")


@pytest.fixture(scope="session")
def simulated_faces(weights: LandmarkWeights) -> tuple[FaceLandmarks, ...]:
    """The drawn head's face in each of the desk's four pictures."""
    landmarker = FaceLandmarker.load(weights)
    found = [landmarker.detect(picture) for picture in scene().pictures]
    assert all(face is not None for face in found)
    return tuple(face for face in found if face is not None)
