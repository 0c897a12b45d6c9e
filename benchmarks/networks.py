"""Time whole networks against the peers; takes the options of `lamina bench networks`.

ONNX Runtime and OpenVINO run in an environment of their own, which needs neither torch nor lamina:

    python -m venv peers && peers/bin/pip install onnxruntime openvino numpy
    python benchmarks/networks.py --peers peers/bin/python --json networks.json
"""

import sys

from lamina.cli import main

main(["bench", "networks", *sys.argv[1:]])
