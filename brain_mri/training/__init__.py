"""A dataset and a configuration -> fitted, exported and calibrated models. The only room with TensorFlow."""
