"""An artifact and a scan -> `Analysis`; the guard, many files, whole volumes. ONNX Runtime only."""
