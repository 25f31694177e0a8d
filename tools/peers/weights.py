"""One model in the forms that the engines read: a folder of transformers, GGUF, a folder of CTranslate2.

All are made from one GGUF file by way of float32, so that every engine has the same weights; 8 bit are made of those
by each format's own rule. Runs in an interpreter with torch and transformers, the packages of the peers behind its own.
"""

from __future__ import annotations

import site
import sys
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

FLOAT, HALF, EIGHT_BIT = "float32", "float16", "int8"
HF = "hf"
GGUF = {FLOAT: "f32.gguf", EIGHT_BIT: "q8_0.gguf"}
OPENVINO = {FLOAT: "openvino-float32", EIGHT_BIT: GGUF[EIGHT_BIT]}
"""OpenVINO GenAI reads GGUF in 16 and 8 bit, not in float32."""

CTRANSLATE2 = {FLOAT: "ctranslate2-float32", EIGHT_BIT: "ctranslate2-int8"}


def convert(source: Path, out: Path) -> None:
    """Write each form below `out` that is not there yet."""
    out.mkdir(parents=True, exist_ok=True)
    for precision, name in GGUF.items():
        _once(out / name, lambda path, precision=precision: _write_gguf(source, path, precision))
    _once(out / HF, lambda path: _write_hf(source, path))
    _once(out / OPENVINO[FLOAT], lambda path: _write_openvino(source, out / HF, path))
    for precision, name in CTRANSLATE2.items():
        _once(out / name, lambda path, precision=precision: _write_ctranslate2(out / HF, path, precision))


def _once(path: Path, write: Any) -> None:
    if not path.exists():
        unfinished = path.with_name(f"unfinished-{path.name}")
        write(unfinished)
        unfinished.rename(path)


def _write_gguf(source: Path, path: Path, precision: str) -> None:
    gguf = import_module("gguf")
    reader = gguf.GGUFReader(source)
    kind, file_kind = {
        FLOAT: (gguf.GGMLQuantizationType.F32, gguf.LlamaFileType.ALL_F32),
        HALF: (gguf.GGMLQuantizationType.F16, gguf.LlamaFileType.MOSTLY_F16),
        EIGHT_BIT: (gguf.GGMLQuantizationType.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0),
    }[precision]
    writer = gguf.GGUFWriter(path, arch=reader.fields["general.architecture"].contents())
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name in {"general.architecture", "general.file_type"}:
            continue
        inner = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(name, field.contents(), field.types[0], sub_type=inner)
    writer.add_file_type(file_kind)
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        # Vectors stay in float32: norms, of which there are few.
        stored = kind if values.ndim > 1 else gguf.GGMLQuantizationType.F32
        writer.add_tensor(tensor.name, gguf.quants.quantize(values, stored), raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _write_hf(source: Path, path: Path) -> None:
    torch, transformers = import_module("torch"), import_module("transformers")
    place = {"gguf_file": source.name}
    read = transformers.AutoModelForCausalLM.from_pretrained(source.parent, dtype=torch.float32, **place)
    tokenizer = transformers.AutoTokenizer.from_pretrained(source.parent, **place)
    config = read.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    # A model of its own: the one that was read remembers that it comes from a quantised file.
    model = type(read)(config).to(torch.float32)
    model.load_state_dict(read.state_dict(), strict=False, assign=True)
    model.tie_weights()
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)


def _write_openvino(source: Path, hf: Path, path: Path) -> None:
    """Let OpenVINO GenAI build its model of a 16 bit file, and put the exact weights in the place of those.

    Raises:
        ValueError: A weight is not what it was rounded from.
    """
    numpy, openvino = import_module("numpy"), import_module("openvino")
    weights = import_module("safetensors.numpy").load_file(hf / "model.safetensors")
    with TemporaryDirectory(dir=path.parent) as folder:
        half = Path(folder) / "f16.gguf"
        _write_gguf(source, half, HALF)
        import_module("openvino_genai").LLMPipeline(str(half), "CPU", enable_save_ov_model=True)
        path.mkdir(parents=True, exist_ok=True)
        for file in Path(folder).glob("openvino_*okenizer.*"):
            file.rename(path / file.name)
        model = openvino.Core().read_model(Path(folder) / "openvino_model.xml")
        for node in model.get_ops():
            name = node.get_friendly_name().replace("[", ".").replace("]", "")
            if node.get_type_name() != "Constant" or name not in weights:
                continue
            exact = weights[name]
            if not numpy.array_equal(node.get_data(), exact.astype(node.get_data().dtype)):
                raise ValueError(f"{name}: OpenVINO has another order of these weights")
            constant = openvino.opset13.constant(exact)
            for place in node.output(0).get_target_inputs():
                # A conversion to float32 stands between a rounded weight and its use.
                uses = [place]
                if place.get_node().get_type_name() == "Convert":
                    uses = list(place.get_node().output(0).get_target_inputs())
                for use in uses:
                    use.replace_source_output(constant.output(0))
        openvino.save_model(model, path / "openvino_model.xml", compress_to_fp16=False)


def _write_ctranslate2(hf: Path, path: Path, precision: str) -> None:
    converter = import_module("ctranslate2.converters").TransformersConverter(str(hf))
    converter.convert(str(path), quantization=precision)


def main(arguments: list[str]) -> None:
    """Convert; the arguments are the packages of the peers, the GGUF file, and the folder."""
    peers, source, out = arguments
    site.addsitedir(peers)
    convert(Path(source), Path(out))


if __name__ == "__main__":
    main(sys.argv[1:])
