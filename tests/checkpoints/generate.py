"""Writes the sample checkpoints of this folder and the fuzzers' seeds: see README.md."""

import collections
import json
import os
import pickle
import struct
import sys
import types

import numpy
import safetensors.torch
import torch


def ramp(*shape, start=0.0):
    """0.0, 0.25, 0.5, ... in row-major order: exact in every floating type used here."""
    count = int(numpy.prod(shape))
    return (torch.arange(count, dtype=torch.float32) * 0.25 + start).reshape(shape)


def stub(module_name, class_name):
    """A class that exists only while this script runs, as the classes of a research repository do."""
    package = module_name.split(".")[0]
    sys.modules.setdefault(package, types.ModuleType(package))
    module = sys.modules.setdefault(module_name, types.ModuleType(module_name))
    base = torch.nn.Module if class_name != "ExponentialMovingAverage" else object
    made = type(class_name, (base,), {"__module__": module_name})
    setattr(module, class_name, made)
    return made


def nerf_checkpoint():
    optimiser_state = {
        "state": {0: {"step": 3, "exp_avg": ramp(2, 3), "exp_avg_sq": ramp(2, 3)}},
        "param_groups": [{"lr": 5e-4, "betas": (0.9, 0.999), "params": [0]}],
    }
    fine = collections.OrderedDict(
        [("pts_linears.0.weight", ramp(2, 3, start=8.0)), ("pts_linears.0.bias", ramp(2, start=9.0))]
    )
    # An attribute that state_dict() attaches, which a reader has to step over.
    fine._metadata = collections.OrderedDict([("", {"version": 1})])
    return {
        "global_step": 200,
        "network_fn_state_dict": collections.OrderedDict(
            [("pts_linears.0.weight", ramp(2, 3)), ("pts_linears.0.bias", ramp(2, start=1.0))]
        ),
        "network_fine_state_dict": fine,
        "optimizer_state_dict": optimiser_state,
    }


def views():
    base = ramp(3, 4)
    return {
        "whole": base,
        "transposed": base.t(),
        "row": base[1],
        "column": base[:, 2],
        "expanded": torch.tensor([1.5]).expand(2, 3),
        "empty": torch.zeros(0, 5),
        "scalar": torch.tensor(2.5),
        "tied": [base, base],
    }


def element_types():
    values = torch.tensor([0, 1, 2, 100])
    types_ = ["float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8"]
    tensors = {name: values.to(getattr(torch, name)) for name in types_}
    tensors["bool"] = torch.tensor([True, False, True])
    tensors["uint16"] = torch.tensor([0, 65535], dtype=torch.uint16)
    tensors["uint32"] = torch.tensor([0, 2**32 - 1], dtype=torch.uint32)
    tensors["numpy"] = numpy.asfortranarray(numpy.arange(6, dtype=numpy.float64).reshape(2, 3))
    tensors["numpy_scalar"] = numpy.float32(0.5)
    return tensors


def generator():
    Generator = stub("generators.generators", "ImplicitGenerator3d")
    Siren = stub("siren.siren", "SPATIALSIRENBASELINE")
    model, field = Generator(), Siren()
    model.siren, model.z_dim, model.step, model.device = field, 4, 60000, torch.device("cpu")
    field.network = torch.nn.ModuleList([torch.nn.Linear(3, 2), torch.nn.Linear(2, 2, bias=False)])
    field.register_buffer("scale", ramp(1, start=0.25))
    field.register_buffer("scratch", ramp(1), persistent=False)
    with torch.no_grad():
        for index, parameter in enumerate(model.parameters()):
            parameter.copy_(ramp(*parameter.shape, start=float(index)))
    return model


def moving_average(model):
    Average = stub("torch_ema.ema", "ExponentialMovingAverage")
    average = Average()
    average.decay, average.num_updates = 0.999, 7
    average.shadow_params = [parameter.detach().clone() for parameter in model.parameters()]
    average.collected_params = []
    return average


# The legacy layout embeds the source text of every module class; these files carry a placeholder.
torch.serialization.get_source_lines_and_file = lambda *_: (["class Placeholder: pass\n"], 0, "placeholder.py")

torch.save(nerf_checkpoint(), "nerf_zip.tar")
torch.save(nerf_checkpoint(), "nerf_legacy.tar", _use_new_zipfile_serialization=False)
torch.save(views(), "views_zip.pth")
torch.save(views(), "views_legacy.pth", _use_new_zipfile_serialization=False)
torch.save(element_types(), "types_zip.pth")
model = generator()
torch.save(model, "module_zip.pth")
torch.save(model, "module_legacy.pth", _use_new_zipfile_serialization=False)
torch.save(moving_average(model), "average.pth")

keras = numpy.empty(2, dtype=object)
keras[0] = numpy.arange(6, dtype=numpy.float32).reshape(3, 2)
keras[1] = numpy.array([0.5, 1.5], dtype=numpy.float32)
numpy.save("keras_weights.npy", keras, allow_pickle=True)
numpy.save("fortran.npy", numpy.asfortranarray(numpy.arange(6, dtype=numpy.int32).reshape(2, 3)))
numpy.savez("arrays.npz", poses=numpy.eye(2), index=numpy.array([1, 2], dtype=numpy.uint16))
numpy.savez_compressed("compressed.npz", zeros=numpy.zeros((8, 8), dtype=numpy.float32))

types_ = {name: value for name, value in element_types().items() if isinstance(value, torch.Tensor)}
safetensors.torch.save_file(types_, "types.safetensors")
field = {"pts_linears.0.weight": ramp(2, 3), "pts_linears.0.bias": ramp(2, start=1.0), "empty": torch.zeros(0, 4)}
safetensors.torch.save_file(field, "field.safetensors", metadata={"step": "200"})


def seed(target, name, content):
    folder = os.path.join("..", "fuzz", "corpus", target)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name), "wb") as file:
        file.write(content)


def header(entries, data=b""):
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


seed("safetensors", "nothing", header({}))
seed("safetensors", "metadata", header({"__metadata__": {"a": "b"}, "x": entry("U8", [2], 0, 2)}, b"ab"))
seed("safetensors", "overlap", header({"x": entry("U8", [4], 0, 4), "y": entry("U8", [4], 2, 6)}, b"abcdef"))
seed("safetensors", "huge", header({"x": entry("F32", [2**32, 2**32], 0, 4)}, b"abcd"))
nested = [{"a": (1, 2.5, None, True), 3: ["x", b"y"]}, {1, 2}, frozenset([3]), 2**40, -(2**70)]
for protocol in range(2, 6):
    seed("pth", f"containers_{protocol}", pickle.dumps(nested, protocol))
    seed("pth", f"arrays_{protocol}", pickle.dumps({"x": numpy.arange(4, dtype=numpy.float16)}, protocol))
loop = []
loop.append(loop)
seed("pth", "loop", pickle.dumps(loop, 2))
seed("pth", "call", b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00ls\x85R.")
