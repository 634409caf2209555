"""Export other anomaly detectors for `scorer_time.py`; needs an environment of its own.

    python3 -m venv /tmp/rivals
    /tmp/rivals/bin/pip install torch==2.14.1 torchvision==0.29.1 anomalib openvino onnx
    /tmp/rivals/bin/python tests/benchmarks/rivals.py /tmp/rivals/graphs

Weights are random, as they do not affect the run time. PatchCore gets a memory bank of 5,000.
"""

import sys
from pathlib import Path
from typing import Any

SIDE_PX = 256
MEMORY_BANK = 5000


def models() -> dict[str, Any]:
    """Return the models in evaluation mode, by name."""
    import torch  # noqa: PLC0415 - not in linewatch's own environment
    from anomalib.models.image.efficient_ad.torch_model import EfficientAdModel  # noqa: PLC0415
    from anomalib.models.image.padim.torch_model import PadimModel  # noqa: PLC0415
    from anomalib.models.image.patchcore.torch_model import PatchcoreModel  # noqa: PLC0415

    padim = PadimModel(backbone="resnet18", layers=["layer1", "layer2", "layer3"], pre_trained=False)
    positions = (SIDE_PX // 4) ** 2
    padim.gaussian.mean = torch.rand(padim.n_features, positions)
    padim.gaussian.inv_covariance = torch.rand(positions, padim.n_features, padim.n_features)
    patchcore = PatchcoreModel(backbone="resnet18", layers=["layer2", "layer3"], pre_trained=False)
    patchcore.memory_bank = torch.rand(MEMORY_BANK, 384)
    detectors = {
        "PaDiM R18": padim,
        "PatchCore R18": patchcore,
        "EfficientAD-S": EfficientAdModel(teacher_out_channels=384, model_size="small"),
    }
    return {name: model.eval() for name, model in detectors.items()}


def main(folder: Path) -> None:
    """Export every model as ONNX and as an OpenVINO graph into `folder`."""
    import openvino  # noqa: PLC0415
    import torch  # noqa: PLC0415

    folder.mkdir(parents=True, exist_ok=True)
    image = torch.rand(1, 3, SIDE_PX, SIDE_PX)
    for name, model in models().items():
        path = folder / f"{name}.onnx"
        torch.onnx.export(model, (image,), path, dynamo=False, input_names=["input"], opset_version=17)
        openvino.save_model(openvino.convert_model(path), folder / f"{name}.xml", compress_to_fp16=False)
        print(folder / f"{name}.xml")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
