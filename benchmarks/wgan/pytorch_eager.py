"""One iteration in PyTorch: eager, double back-propagation by autograd."""

from collections.abc import Callable
from itertools import pairwise
from types import SimpleNamespace

import torch
from serve import serve
from torch import nn

torch.set_num_threads(1)


def make(settings: SimpleNamespace) -> Callable[[], object]:
    """Makes networks and optimizers, and a function that does all steps of an iteration."""
    generator = nn.Sequential(
        *(
            layer
            for i, o in pairwise(settings.generator_widths)
            for layer in (nn.Linear(i, o), nn.BatchNorm1d(o), nn.SiLU())
        )
    )
    *hidden, last = pairwise(settings.critic_widths)
    critic = nn.Sequential(*(layer for i, o in hidden for layer in (nn.Linear(i, o), nn.ReLU())), nn.Linear(*last))
    of_generator, of_critic = (
        torch.optim.Adam(net.parameters(), settings.learning_rate, (settings.beta_1, settings.beta_2))
        for net in (generator, critic)
    )
    data, label = torch.rand(settings.num_showers, settings.generator_widths[-1]), torch.rand(settings.num_showers, 1)

    def generate(condition: torch.Tensor) -> torch.Tensor:
        latent = settings.latent_mean + settings.latent_spread * torch.randn(len(condition), settings.latent_dim)
        return generator(torch.cat([latent, condition], 1))

    def score(shower: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        return critic(torch.cat([shower, condition], 1))

    def iterate() -> None:
        for _ in range(settings.critic_steps):
            rows = torch.randint(len(data), (settings.batch_size,))
            shower, condition = data[rows], label[rows]
            with torch.no_grad():
                fake = generate(condition)
            between = (fake + torch.rand(settings.batch_size, 1) * (shower - fake)).requires_grad_(True)
            (gradient,) = torch.autograd.grad(score(between, condition).sum(), between, create_graph=True)
            penalty = ((gradient.norm(dim=1) - 1) ** 2).mean()
            difference = score(fake, condition).mean() - score(shower, condition).mean()
            of_critic.zero_grad()
            (difference + settings.gradient_penalty_weight * penalty).backward()
            of_critic.step()
        of_generator.zero_grad()
        (-score(generate(condition), condition).mean()).backward()
        of_generator.step()

    return iterate


if __name__ == "__main__":
    serve(make)
