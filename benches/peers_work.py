"""One measurement of PyTorch or ONNX Runtime in a fresh process: one JSON line. `peers.py` runs it.

    python benches/peers_work.py WORK BACKEND THREADS [--sizes JSON] [--measure MEASURE] [--grid FILE] [--check]

| WORK | what | BACKEND |
|---|---|---|
| nerf_infer | NeRF's inference, on the network and the rays of MEASURE | hand |
| siren_trunk | FiLM-SIREN trunk of pi-GAN | eager, compile, hand |
| siren_fit | its training step: forward, backward, Adam | eager, compile |
| conv_forward, conv_backward | a convolution with bias, channels last | eager, compile, ort |
| conv_planes | forward, one plane a channel | eager, compile, ort |
| attention_forward, attention_both | multi-head attention; with its gradients | eager, compile |
| norm_forward, norm_both | group normalisation and swish, channels last; with gradients | eager, compile |
| conv_fit, attention_fit, norm_fit | forward, backward by input and weights, gradient descent | eager, compile |
| grid | every matrix product of `grid.txt` | eager |

`hand` is what somebody writes who knows the machine: chunks of rows that stay in cache (the best of a few sizes, found before
anything is timed), every result in memory that was there before, activations in place, no autograd. `--check` compares it with
the plain program. Sizes are those of the specs in `benches/specs`.
"""

import argparse
import json
import math
import os
import resource
import statistics
import sys
import time

CHUNKS = (256, 512, 1024, 2048, 4096)


def timed(run, budget):
    """Medians of runs that together last about `budget` seconds, three at least; the first call by itself."""
    started = time.perf_counter()
    run()
    first = time.perf_counter() - started
    started = time.perf_counter()
    run()
    once = time.perf_counter() - started
    # Short runs are timed a group at a time.
    group = max(1, int(0.02 / once))
    seconds, began = [], time.perf_counter()
    while len(seconds) < 3 or (time.perf_counter() - began < budget and len(seconds) < 50):
        started = time.perf_counter()
        for _ in range(group):
            run()
        seconds.append((time.perf_counter() - started) / group)
    return {"median_s": statistics.median(seconds), "min_s": min(seconds), "first_s": first}


def quickest(candidates, run):
    """The candidate whose run is the fastest of three, once all have run."""

    def seconds(candidate):
        run(candidate)
        times = []
        for _ in range(3):
            started = time.perf_counter()
            run(candidate)
            times.append(time.perf_counter() - started)
        return min(times)

    return min(candidates, key=seconds)


# NeRF by hand.


class HandField:
    """A field's network on one chunk of points after another; a layer writes into memory that was there before."""

    def __init__(self, field, rows):
        import torch

        self.rows = rows
        self.layers = [(layer.weight.t().contiguous(), layer.bias) for layer in field.pts_linears]
        # Density and feature read the same activations: one product.
        self.after = (
            torch.cat([field.feature_linear.weight, field.alpha_linear.weight]).t().contiguous(),
            torch.cat([field.feature_linear.bias, field.alpha_linear.bias]),
        )
        view = field.views_linears[0]
        self.view = (view.weight.t().contiguous(), view.bias)
        self.colour = (field.rgb_linear.weight.t().contiguous(), field.rgb_linear.bias)
        self.width = field.feature_linear.weight.shape[0]
        self.octaves, self.skips = field.L_pts, field.skips
        self.encoded = 3 + 6 * field.L_pts
        empty = lambda columns: torch.empty(rows, columns)
        # The encoded point lies before the activations of the layer that is put behind it.
        self.skip, self.even, self.odd = empty(self.encoded + self.width), empty(self.width), empty(self.width)
        self.last, self.hidden = empty(self.width + 1), empty(self.width // 2)
        self.seen = empty(view.weight.shape[1])
        self.angle = torch.empty(rows, self.octaves, 3)
        self.powers = (2.0 ** torch.arange(self.octaves))[:, None]

    def __call__(self, points, towards, rgb, sigma):
        """Colours and densities, before sigmoid and rectifier, of points and their encoded directions."""
        import torch

        n = points.shape[0]
        encoded = self.skip[:n, : self.encoded]
        encoded[:, :3] = points
        angle = torch.mul(points[:, None], self.powers, out=self.angle[:n])
        waves = encoded[:, 3:].view(n, self.octaves, 2, 3)
        torch.sin(angle, out=waves[:, :, 0])
        torch.cos(angle, out=waves[:, :, 1])
        h = encoded
        for at, (weight, bias) in enumerate(self.layers):
            into = self.skip[:n, self.encoded :] if at in self.skips else (self.even, self.odd)[at % 2][:n]
            torch.addmm(bias, h, weight, out=into).relu_()
            h = self.skip[:n] if at in self.skips else into
        last = torch.addmm(self.after[1], h, self.after[0], out=self.last[:n])
        sigma.copy_(last[:, self.width])
        seen = self.seen[:n]
        seen[:, : self.width] = last[:, : self.width]
        seen[:, self.width :] = towards
        torch.addmm(self.view[1], seen, self.view[0], out=self.hidden[:n]).relu_()
        torch.addmm(self.colour[1], self.hidden[:n], self.colour[0], out=rgb)


class HandNerf:
    def __init__(self, model, models, rays, rows):
        import torch

        self.model, self.models = model, models
        self.samples = (model.Nc, model.Nc + model.Nf)
        # Whole rays a chunk.
        self.fields = [
            HandField(field, max(1, rows // s) * s) for field, s in zip((model.coarse, model.fine), self.samples)
        ]
        self.raw = [torch.empty(rays, s, 4) for s in self.samples]

    def look(self, which, origin, direction, towards, z):
        import torch

        field, raw, samples = self.fields[which], self.raw[which], self.samples[which]
        step = field.rows // samples
        for begin in range(0, origin.shape[0], step):
            rays = slice(begin, min(begin + step, origin.shape[0]))
            points = torch.addcmul(origin[rays, None], direction[rays, None], z[rays, :, None]).view(-1, 3)
            seen = towards[rays, None].expand(-1, samples, -1).reshape(len(points), -1)
            into = raw[rays].view(-1, 4)
            field(points, seen, into[:, :3], into[:, 3])
        return self.models.raw2outputs(raw, z, direction)

    def __call__(self, origin, direction, u):
        import torch

        m = self.model
        towards = self.models.embed(direction / torch.norm(direction, dim=-1, keepdim=True), m.coarse.L_views)
        t = torch.linspace(0.0, 1.0, m.Nc)
        z = (m.near * (1 - t) + m.far * t).expand(origin.shape[0], m.Nc).contiguous()
        rgb0, weight, _, _ = self.look(0, origin, direction, towards, z)
        between = self.models.sample_pdf_nerf(0.5 * (z[:, 1:] + z[:, :-1]), weight[:, 1:-1], u)
        every = torch.sort(torch.cat([z, between], -1), -1)[0]
        rgb, _, depth, opacity = self.look(1, origin, direction, towards, every)
        return rgb, rgb0, depth, opacity


def nerf_infer(backend, sizes, arguments):
    assert backend == "hand", "the other backends are those of MEASURE's bench.py"
    sys.path.insert(0, arguments.measure)
    import models
    import torch
    import workloads

    work = workloads.build("nerf_infer")
    model, inputs = work["model"], work["inputs"]
    with torch.inference_mode():
        hands = {rows: HandNerf(model, models, inputs[0].shape[0], rows) for rows in (384, 768, 1536, 3072, 6144)}
        best = quickest(hands, lambda rows: hands[rows](*inputs))

        def error():
            return max((a - b).abs().max().item() for a, b in zip(model(*inputs), hands[best](*inputs)))

        found = {"max_error": error()} if arguments.check else {}

    def run():
        with torch.inference_mode():
            hands[best](*inputs)

    return run, {"rows": best, **found}


# The FiLM-SIREN trunk of pi-GAN.


def siren(sizes):
    """Layers, density layer and mapping network with the authors' first weights; points, frequencies and phases."""
    import torch

    torch.manual_seed(0)
    images, points, hidden, depth = (sizes[name] for name in ("image", "point", "hidden", "depth"))

    def affine(inward, outward, bound):
        layer = torch.nn.Linear(inward, outward)
        torch.nn.init.uniform_(layer.weight, -bound, bound)
        return layer

    bound = math.sqrt(6 / hidden) / 25
    layers = torch.nn.ModuleList(
        affine(3 if at == 0 else hidden, hidden, 1 / 3 if at == 0 else bound) for at in range(depth)
    )
    density = affine(hidden, 1, bound)
    widths = [sizes["latent"], hidden, hidden, hidden, 2 * depth * hidden]
    mapping = torch.nn.Sequential()
    for at, (inward, outward) in enumerate(zip(widths, widths[1:])):
        layer = torch.nn.Linear(inward, outward)
        torch.nn.init.kaiming_normal_(layer.weight, a=0.2)
        mapping.extend([layer] if at == 3 else [layer, torch.nn.LeakyReLU(0.2)])
    mapping[-1].weight.data *= 0.25
    return layers, density, mapping, torch.rand(images, points, 3) * 2 - 1


def styles(mapping, z, depth):
    """Frequencies and phases [image, layer, feature]."""
    frequency, phase = mapping(z).chunk(2, -1)
    return frequency.unflatten(-1, (depth, -1)), phase.unflatten(-1, (depth, -1))


def trunk(layers, points, frequency, phase):
    import torch

    h, frequency = points, 15 * frequency + 30
    for at, layer in enumerate(layers):
        h = torch.sin(frequency[:, at, None] * layer(h) + phase[:, at, None])
    return h


def siren_trunk(backend, sizes, arguments):
    import torch

    layers, _, mapping, points = siren(sizes)
    with torch.no_grad():
        frequency, phase = styles(mapping, torch.randn(sizes["image"], sizes["latent"]), sizes["depth"])
        frequency, phase = frequency.contiguous(), phase.contiguous()
    plain = lambda points, frequency, phase: trunk(layers, points, frequency, phase)
    if backend == "hand":
        with torch.inference_mode():
            out = torch.empty(sizes["image"], sizes["point"], sizes["hidden"])
            memory = [torch.empty(max(CHUNKS), sizes["hidden"]) for _ in range(2)]

            def hand(rows):
                for image in range(sizes["image"]):
                    # sin(f (W h + b) + p) = sin((f W) h + (f b + p))
                    folded = [
                        ((f[:, None] * layer.weight).t(), f * layer.bias + p)
                        for layer, f, p in zip(layers, 15 * frequency[image] + 30, phase[image])
                    ]
                    for begin in range(0, sizes["point"], rows):
                        h = points[image, begin : begin + rows]
                        into = out[image, begin : begin + rows]
                        for at, (weight, bias) in enumerate(folded):
                            target = into if at + 1 == len(folded) else memory[at % 2][: len(h)]
                            h = torch.addmm(bias, h, weight, out=target).sin_()
                return out

            best = quickest(CHUNKS, hand)
            difference = lambda: (plain(points, frequency, phase) - hand(best)).abs().max().item()
            found = {"max_error": difference()} if arguments.check else {}

        def run():
            with torch.inference_mode():
                hand(best)

        return run, {"rows": best, **found}
    chosen = torch.compile(plain, dynamic=False) if backend == "compile" else plain

    def run():
        with torch.no_grad():
            chosen(points, frequency, phase)

    return run, {}


def siren_fit(backend, sizes, arguments):
    import torch

    layers, density, mapping, points = siren(sizes)
    z, target = torch.randn(sizes["image"], sizes["latent"]), torch.rand(sizes["image"], sizes["point"])
    parameters = [*layers.parameters(), *density.parameters(), *mapping.parameters()]
    optimiser = torch.optim.Adam(parameters, lr=6e-5, betas=(0.0, 0.9), fused=True)

    def loss(z, points, target):
        h = trunk(layers, points, *styles(mapping, z, sizes["depth"]))
        return torch.nn.functional.mse_loss(density(h)[..., 0], target)

    chosen = torch.compile(loss, dynamic=False) if backend == "compile" else loss

    def run():
        optimiser.zero_grad(set_to_none=True)
        chosen(z, points, target).backward()
        optimiser.step()

    return run, {}


def fit(backend, apply, x, parameters):
    """Gradient descent of x and the parameters by the squared error of what `apply` makes of x."""
    import torch

    x.requires_grad_()
    target = torch.randn_like(apply(x)).detach()
    optimiser = torch.optim.SGD([x, *parameters], lr=1e-3)

    def loss(x, target):
        return torch.nn.functional.mse_loss(apply(x), target)

    chosen = torch.compile(loss, dynamic=False) if backend == "compile" else loss

    def run():
        optimiser.zero_grad(set_to_none=True)
        chosen(x, target).backward()
        optimiser.step()

    return run, {}


# Convolutions.


def convolution(sizes, planes=False):
    import torch

    torch.manual_seed(0)
    last = torch.contiguous_format if planes else torch.channels_last
    picture = torch.randn(sizes["image"], sizes["from"], sizes["side"], sizes["side"]).contiguous(memory_format=last)
    layer = torch.nn.Conv2d(sizes["from"], sizes["to"], sizes["kernel"], sizes["stride"], sizes["padding"])
    return picture, layer.to(memory_format=last).requires_grad_(False)


def conv_planes(backend, sizes, arguments):
    return conv_forward(backend, sizes, arguments, planes=True)


def conv_fit(backend, sizes, arguments):
    picture, layer = convolution(sizes)
    layer.requires_grad_()
    return fit(backend, layer, picture, layer.parameters())


def conv_forward(backend, sizes, arguments, planes=False):
    import torch

    picture, layer = convolution(sizes, planes)
    if backend == "ort":
        return conv_onnx(picture, layer, sizes, arguments)
    chosen = torch.compile(layer, dynamic=False) if backend == "compile" else layer

    def run():
        with torch.no_grad():
            chosen(picture)

    return run, {}


def conv_onnx(picture, layer, sizes, arguments):
    import onnx
    import onnxruntime
    from onnx import helper, numpy_helper

    values = [numpy_helper.from_array(getattr(layer, name).contiguous().numpy(), name) for name in ("weight", "bias")]
    node = helper.make_node(
        "Conv", ["a", "weight", "bias"], ["b"], strides=[sizes["stride"]] * 2, pads=[sizes["padding"]] * 4
    )
    tensor = lambda name, shape: helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
    graph = helper.make_graph([node], "convolution", [tensor("a", picture.shape)], [tensor("b", None)], values)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = arguments.threads
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feed = {"a": picture.contiguous().numpy()}
    return lambda: session.run(None, feed), {}


def conv_backward(backend, sizes, arguments):
    import torch

    assert backend == "eager", "a single operation: there is nothing to compile"
    picture, layer = convolution(sizes)
    cotangent = torch.randn_like(layer(picture))
    stride, padding = [sizes["stride"]] * 2, [sizes["padding"]] * 2
    backward = torch.ops.aten.convolution_backward

    def run():
        backward(
            cotangent, picture, layer.weight, [sizes["to"]], stride, padding, [1, 1], False, [0, 0], 1, [True] * 3
        )

    return run, {}


# Attention; normalisation and swish.


def forward_or_both(work, backend, apply, x, parameters):
    """A call of `apply`, without autograd, or with the gradients by x and the parameters, or a step of descent."""
    import torch

    if work.endswith("fit"):
        return fit(backend, apply, x, parameters)
    chosen = torch.compile(apply, dynamic=False) if backend == "compile" else apply
    if work.endswith("forward"):

        def run():
            with torch.no_grad():
                chosen(x)

        return run, {}
    x.requires_grad_()
    cotangent = torch.randn_like(apply(x))

    def run():
        torch.autograd.grad(chosen(x), [x, *parameters], cotangent)

    return run, {}


def attention(work, backend, sizes):
    import torch
    from torch.nn import functional

    torch.manual_seed(0)
    channels, heads = sizes["channel"], sizes["head"]
    inward, outward = torch.nn.Linear(channels, 3 * channels), torch.nn.Linear(channels, channels)

    def apply(x):
        query, key, value = inward(x).unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        return outward(mixed.transpose(1, 2).flatten(2))

    x = torch.randn(sizes["batch"], sizes["token"], channels)
    return forward_or_both(work, backend, apply, x, [*inward.parameters(), *outward.parameters()])


def norm(work, backend, sizes):
    import torch
    from torch.nn import functional

    torch.manual_seed(0)
    layer = torch.nn.GroupNorm(sizes["group"], sizes["channel"], eps=1e-6)
    picture = torch.randn(sizes["image"], sizes["channel"], sizes["side"], sizes["side"])
    picture = picture.contiguous(memory_format=torch.channels_last)
    return forward_or_both(work, backend, lambda x: functional.silu(layer(x)), picture, list(layer.parameters()))


# Matrix products.


def products(path):
    """(name, batch, m, n, k, form) of every line of the grid."""
    for line in open(path):
        fields = line.split("#")[0].split()
        if fields:
            yield (fields[0], *map(int, fields[1:5]), fields[5])


def grid(backend, sizes, arguments):
    import torch

    torch.manual_seed(0)
    found = {}
    for name, batch, m, n, k, form in products(arguments.grid):
        a = torch.randn(batch, *((k, m) if form[0] == "t" else (m, k)))
        b = torch.randn(batch, *((n, k) if form[1] == "t" else (k, n)))
        c = torch.empty(batch, m, n)
        a = a.transpose(1, 2) if form[0] == "t" else a
        b = b.transpose(1, 2) if form[1] == "t" else b
        if batch == 1:
            run = lambda: torch.mm(a[0], b[0], out=c[0])
        else:
            run = lambda: torch.bmm(a, b, out=c)
        with torch.inference_mode():
            result = timed(run, arguments.budget / 10)
        found[name] = {"gflops": 2e-9 * batch * m * n * k / result["median_s"]}
    return None, {"products": found}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work")
    parser.add_argument("backend")
    parser.add_argument("threads", type=int)
    parser.add_argument("--sizes", type=json.loads, default={})
    parser.add_argument("--measure")
    parser.add_argument("--grid", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), "grid.txt"))
    parser.add_argument("--check", action="store_true", help="compare `hand` with the plain program")
    parser.add_argument("--budget", type=float, default=3.0, help="seconds that timed runs last")
    arguments = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(arguments.threads)
    import torch

    torch.set_num_threads(arguments.threads)
    work = arguments.work
    if work.startswith("attention_"):
        run, more = attention(work, arguments.backend, arguments.sizes)
    elif work.startswith("norm_"):
        run, more = norm(work, arguments.backend, arguments.sizes)
    else:
        run, more = globals()[work](arguments.backend, arguments.sizes, arguments)
    result = {"work": work, "backend": arguments.backend, "threads": arguments.threads, **more}
    if run:
        result.update(timed(run, arguments.budget))
    result["rss_peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(result))


if __name__ == "__main__":
    main()
