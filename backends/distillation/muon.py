"""Muon: momentum whose matrix is brought near to an orthogonal one before it is applied.

The weight matrices of the layers are trained with it, embeddings and norms
with AdamW.  On this corpus it is worth several times the data.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonalise(matrix: Tensor, steps: int = 3) -> Tensor:
    """Return a matrix with the same singular vectors and singular values near one.

    The Newton-Schulz polynomial needs singular values below one.  The usual
    division by the Frobenius norm is far too careful for a flat spectrum; the
    eighth-power norm bounds the largest singular value too, comes free with
    the products of the first step, and saves about two steps of five.
    """
    a, b, c = COEFFICIENTS
    tall = matrix.shape[-2] > matrix.shape[-1]
    x = matrix.mT if tall else matrix
    x = x / (x.norm() + 1e-12)
    for step in range(steps):
        gram = x @ x.mT
        square = gram @ gram
        if step == 0:
            # The floor is below any bound of a matrix of norm one, and keeps a zero matrix zero.
            bound = (square.norm() ** 0.25).clamp(min=1e-3)
            x, gram, square = x / bound, gram / bound**2, square / bound**4
        x = torch.addmm(x, b * gram + c * square, x, beta=a)
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Muon with Nesterov momentum for matrices of two dimensions."""

    def __init__(
        self, params: Iterable[nn.Parameter], lr: float, momentum: float = 0.95, steps: int = 3
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "steps": steps})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Apply one update to every parameter that has a gradient."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(p)
                buffer: Tensor = state["momentum"]
                buffer.lerp_(p.grad, 1 - group["momentum"])
                update = orthogonalise(p.grad.lerp(buffer, group["momentum"]), group["steps"])
                scale = max(1.0, p.shape[0] / p.shape[1]) ** 0.5
                p.add_(update, alpha=-group["lr"] * scale)


class Pair:
    """Muon for the matrices of the layers and AdamW for the rest, as one optimiser."""

    def __init__(self, model: nn.Module, matrix_lr: float, other_lr: float) -> None:
        self.names: dict[Tensor, str] = {p: name for name, p in model.named_parameters()}
        matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
        others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
        self.rates = (matrix_lr, other_lr)
        self.parts: tuple[torch.optim.Optimizer, ...] = (
            Muon(matrices, matrix_lr),
            torch.optim.AdamW(others, other_lr, betas=(0.9, 0.95), weight_decay=0.0),
        )
        self.parameters = list(model.parameters())

    def step(self, factor: float) -> None:
        """Clip the gradient to norm one, update with the rates times `factor`, and clear the gradient."""
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        for part, rate in zip(self.parts, self.rates, strict=True):
            for group in part.param_groups:
                group["lr"] = rate * factor
            part.step()
            part.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Tensor]:
        """Return the optimiser's memory as named tensors, for a safetensors file."""
        return {
            f"{self.names[p]}|{key}": value.detach().clone()
            for part in self.parts
            for p, state in part.state.items()
            for key, value in state.items()
        }

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Take the memory back from what `state` returned."""
        by_name = {name: p for p, name in self.names.items()}
        home = {p: part for part in self.parts for group in part.param_groups for p in group["params"]}
        for full, value in tensors.items():
            name, key = full.rsplit("|", 1)
            home[by_name[name]].state[by_name[name]][key] = value.clone()
