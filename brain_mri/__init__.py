"""Brain MRI demo: a scan in, class probabilities, tumor mask and Grad-CAM out.

from brain_mri import Predictor, read_scan
answer = Predictor.load("weights").analyze(read_scan("slice.jpg"))
"""

from brain_mri.imaging.read import read_scan
from brain_mri.inference.predictor import Predictor

__all__ = ["Predictor", "read_scan"]
