"""PyTorch, eager: Keras' networks layer by layer, and steps with the same passes as ours.

The critics of the BIB-AE judge showers that are decoded once, and no gradient is computed that no optimizer needs, so
that only the libraries differ.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import chain

import torch
from cases import Case
from serve import Calls, serve
from torch import nn
from torch.nn import functional

from calogen.backend import keras

Tensors = Mapping[str, torch.Tensor]


class Network(nn.Module):
    """A Keras network in PyTorch, with weights of its own, as values do not matter."""

    def __init__(self, network: keras.Model) -> None:
        super().__init__()
        self._inputs = {id(tensor): tensor.name for tensor in network.inputs}
        self._outputs = {name: id(tensor) for name, tensor in _named(network.output)}
        self._plan: list[tuple[int, Callable[..., torch.Tensor], list[int]]] = []
        modules = []
        for layer in network.operations:
            if not isinstance(layer, keras.layers.InputLayer):
                modules.append(_module(layer))
                sources = [id(tensor) for tensor in keras.tree.flatten(layer.input)]
                self._plan.append((id(layer.output), modules[-1], sources))
        self._modules_of_layers = nn.ModuleList([item for item in modules if isinstance(item, nn.Module)])

    def forward(self, **inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """Gives the outputs by name, `output` if there is one."""
        values = {place: inputs[name] for place, name in self._inputs.items()}
        for place, function, sources in self._plan:
            values[place] = function(*(values[source] for source in sources))
        return {name: values[place] for name, place in self._outputs.items()}


def _named(output: object) -> Iterator[tuple[str, object]]:
    yield from output.items() if isinstance(output, dict) else [("output", output)]


Function = Callable[..., torch.Tensor]
Shape = tuple[int, ...]


def _module(layer: keras.layers.Layer) -> Function:
    """The function of a layer."""
    source, shape = (keras.tree.flatten(item)[0].shape for item in (layer.input, layer.output))
    kind = type(layer).__name__
    return _BUILDERS[kind](layer, source, shape) if kind in _BUILDERS else _FUNCTIONS[kind]


def _dense(layer: keras.layers.Layer, source: Shape, shape: Shape) -> Function:
    if len(shape) == 2:
        return nn.Linear(source[-1], shape[-1], bias=layer.use_bias)
    return nn.Conv3d(source[-1], shape[-1], 1, bias=layer.use_bias)


def _convolution(layer: keras.layers.Layer, source: Shape, shape: Shape) -> Function:
    padding = [size // 2 for size in layer.kernel_size] if layer.padding == "same" else 0
    return nn.Conv3d(source[-1], shape[-1], layer.kernel_size, layer.strides, padding, bias=layer.use_bias)


def _transposed(layer: keras.layers.Layer, source: Shape, shape: Shape) -> Function:
    (kernel, *_), (stride, *_) = layer.kernel_size, layer.strides
    padding = -(-(kernel - stride) // 2)
    sizes = source[-1], shape[-1], kernel, stride, padding, stride - kernel + 2 * padding
    return nn.ConvTranspose3d(*sizes, bias=layer.use_bias)


def _batch_normalisation(layer: keras.layers.Layer, source: Shape, shape: Shape) -> Function:
    return nn.BatchNorm3d(shape[-1], layer.epsilon, 1 - layer.momentum)


def _cropping(layer: keras.layers.Layer, source: Shape, shape: Shape) -> Function:
    (a, _), (b, _), (c, _) = layer.cropping
    return lambda values: values[:, :, a : a + shape[1], b : b + shape[2], c : c + shape[3]]


def _padding(layer: keras.layers.Layer, source: Shape, shape: Shape) -> Function:
    ends = [zeros for zeros in reversed(layer.padding) for _ in range(2)]
    return lambda values: functional.pad(values, ends)


_BUILDERS: dict[str, Callable[[keras.layers.Layer, Shape, Shape], Function]] = {
    "Dense": _dense,
    "Conv3D": _convolution,
    "SingleChannelConvolution": _convolution,
    "FirstConvolution": _convolution,
    "Conv3DTranspose": _transposed,
    "VolumeNormalization": lambda layer, source, shape: nn.LayerNorm(shape[1:4], layer.epsilon),
    "VolumeBatchNormalization": _batch_normalisation,
    "Reshape": lambda layer, source, shape: lambda values: values.reshape(-1, shape[-1], *shape[1:-1]),
    "Cropping3D": _cropping,
    "ZeroPadding": _padding,
    "LeakyReLU": lambda layer, source, shape: nn.LeakyReLU(layer.negative_slope),
}
_FUNCTIONS: dict[str, Function] = {
    "ReLU": torch.relu,
    "Flatten": lambda values: values.flatten(1),
    "Concatenate": lambda *values: torch.cat(values, 1),
    "Multiply": lambda one, other: one * other,
    "Add": lambda one, other: one + other,
    "Subtract": lambda one, other: one - other,
    "Log1p": torch.log1p,
    "Total": lambda values: values.sum(1, keepdim=True),
    "Activation": torch.sigmoid,  # of the discriminator
}


class Steps:
    """The training steps, one for each name of a case."""

    def __init__(self, case: Case) -> None:
        self.config, self.size = case.config, case.batch_size
        self.parts = {name: Network(network) for name, network in case.networks().items()}
        self.optimizers = {name: self._adam(network) for name, network in self.parts.items()}
        if "constrainer" in self.parts:
            parameters = self.parts["constrainer"].parameters()
            self.optimizers["constrainer"] = torch.optim.SGD(parameters, self.config.constrainer_rate)
        if "encoder" in self.parts:
            self.optimizers["autoencoder"] = self._adam(self.parts["encoder"], self.parts["decoder"])
        self.dim = case.latent(1).shape[1]
        self.showers, self.energies = map(torch.from_numpy, case.showers())

    @staticmethod
    def _adam(*networks: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.Adam(chain(*(item.parameters() for item in networks)), 1e-4, (0.5, 0.9))

    def batch(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Random showers and their energies."""
        rows = torch.randint(len(self.showers), (self.size,))
        return self.showers[rows], self.energies[rows]

    def update(self, name: str, loss: torch.Tensor) -> None:
        """Takes a step of an optimizer, with the gradients of its own parameters alone."""
        optimizer = self.optimizers[name]
        optimizer.zero_grad()
        loss.backward(inputs=[parameter for group in optimizer.param_groups for parameter in group["params"]])
        optimizer.step()

    def generate(self, condition: torch.Tensor) -> torch.Tensor:
        """Showers of the generator."""
        return self.parts["generator"](latent=torch.randn(len(condition), self.dim), condition=condition)["output"]

    def teach(self, name: str, real: torch.Tensor, fake: torch.Tensor, **given: torch.Tensor) -> None:
        """Takes a step of a critic, which judges both kinds of showers in one pass, as ours does."""
        critic, twice = self.parts[name], {key: torch.cat([values, values]) for key, values in given.items()}
        of_real, of_fake = critic(shower=torch.cat([real, fake]), **twice)["output"].chunk(2)
        between = (real + torch.rand(len(real), 1) * (fake - real)).requires_grad_(True)
        score = critic(shower=between, **given)["output"].sum()
        (gradient,) = torch.autograd.grad(score, between, create_graph=True)
        penalty = ((gradient.norm(dim=1) - 1) ** 2).mean()
        self.update(name, of_fake.mean() - of_real.mean() + self.config.gradient_penalty_weight * penalty)

    def gan(self) -> None:
        """A step of each network."""
        tell, entropy, (real, condition) = self.parts["discriminator"], nn.BCELoss(), self.batch()
        with torch.no_grad():
            fake = self.generate(condition)
        loss = entropy(tell(shower=real, condition=condition)["output"], torch.ones_like(condition))
        loss = loss + entropy(tell(shower=fake, condition=condition)["output"], torch.zeros_like(condition))
        self.update("discriminator", loss)
        _freeze(tell, learns=False)
        told = tell(shower=self.generate(condition), condition=condition)["output"]
        self.update("generator", entropy(told, torch.ones_like(condition)))
        _freeze(tell, learns=True)

    def wgan(self) -> None:
        """Steps of critic and constrainer, and one of the generator."""
        constrain = self.parts["constrainer"]
        for _ in range(self.config.critic_steps):
            real, condition = self.batch()
            with torch.no_grad():
                fake = self.generate(condition)
            self.teach("critic", real, fake, condition=condition)
            self.update("constrainer", (constrain(shower=real)["output"] - condition).abs().mean())
        _freeze(self.parts["critic"], constrain, learns=False)
        fake = self.generate(condition)
        told = [(constrain(shower=item)["output"] - condition) ** 2 for item in (fake, real)]
        loss = self.config.constrainer_weight * (told[0] - told[1]).abs().mean()
        self.update("generator", loss - self.parts["critic"](shower=fake, condition=condition)["output"].mean())
        _freeze(self.parts["critic"], constrain, learns=True)

    def decode(self, shower: torch.Tensor, condition: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Decoded showers, codes, and their divergence."""
        found = self.parts["encoder"](shower=shower, condition=condition)
        mean, log_variance = found["mean"], found["log_variance"]
        noise = torch.randn(len(shower), self.dim)
        code = mean + (0.5 * log_variance).exp() * noise[:, : mean.shape[1]]
        latent = torch.cat([code, noise[:, mean.shape[1] :]], 1)
        divergence = -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum(1).mean()
        return self.parts["decoder"](latent=latent, condition=condition)["output"], code, divergence

    def bib_ae(self) -> None:
        """Steps of both critics on showers that are decoded once, and one of the autoencoder."""
        real, condition = self.batch()
        given = {"original": real, "condition": condition}
        decoded, code, divergence = self.decode(real, condition)
        kept, numbers = decoded.detach(), code.detach().reshape(-1, 1)
        for _ in range(self.config.critic_steps):
            self.teach("critic", real, kept, **given)
            self.teach("latent_critic", torch.randn_like(numbers), numbers)
        _freeze(self.parts["critic"], self.parts["latent_critic"], learns=False)
        prior = torch.randn_like(code)
        distance = sum(_discrepancy(code, prior, alpha) for alpha in self.config.alphas)
        loss = self.config.kl_weight * divergence + self.config.discrepancy_weight * distance
        loss = loss - self.parts["critic"](shower=decoded, **given)["output"].mean()
        loss = loss - 100 * self.parts["latent_critic"](shower=code.reshape(-1, 1))["output"].mean()
        self.update("autoencoder", loss)
        _freeze(self.parts["critic"], self.parts["latent_critic"], learns=True)

    def post_processor(self) -> None:
        """A step of the post processor with the discrepancy of the sorted cells."""
        (real, condition), (window, stride, reach, alpha) = self.batch(), self.config.kernel
        with torch.no_grad():
            shower = self.decode(real, condition)[0]
        changed = self.parts["post_processor"](shower=shower, condition=condition)["output"]
        largest = reach - stride + window
        windows = [
            item.topk(largest, dim=1).values.unfold(1, window, stride).flatten(0, 1)[..., None]
            for item in (changed, real)
        ]
        loss = ((changed - shower) ** 2).mean()
        self.update("post_processor", loss + self.config.post_weight * _discrepancy(*windows, alpha))


def _discrepancy(one: torch.Tensor, other: torch.Tensor, alpha: float) -> torch.Tensor:
    """Mean squared discrepancy of samples `[..., n, z]`."""

    def kernel(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        squares = ((first[..., :, None, :] - second[..., None, :, :]) ** 2).sum(-1)
        return (-alpha * squares).exp().mean()

    return kernel(one, one) + kernel(other, other) - 2 * kernel(one, other)


def _freeze(*networks: nn.Module, learns: bool) -> None:
    for network in networks:
        network.requires_grad_(learns)


def make(case: Case) -> Calls:
    """The step, and one shower."""
    torch.set_num_threads(case.threads)
    steps, model = Steps(case), case.model
    calls = {"step": getattr(steps, case.name.replace("-", "_"))}
    if case.name == "post-processor":
        return calls
    latent, condition, networks = torch.from_numpy(case.latent(1)), steps.energies[:1], case.networks()
    first, *others = (Network(networks[name]).eval() for name in model.GENERATES if name in networks)

    def shower() -> object:
        with torch.inference_mode():
            values = first(latent=latent, condition=condition)["output"]
            for network in others:
                values = network(shower=values, condition=condition)["output"]
            return values.numpy()

    return calls | {"shower": shower}


if __name__ == "__main__":
    serve(make)
