"""CaloShowerGAN's heads in an LWTNN graph: from logits to voxel / kinetic energy.

Athena multiplies each output by the kinetic energy and knows no layer fractions. The graph itself must therefore
compute voxel fraction x layer fraction x total, although LWTNN has neither a product nor a slice and evaluates a node
once for every consumer. The trunk, the part of the network before the heads, runs once for each softmax; three
constructions keep the number of softmaxes and the matrices small:

- Softmaxes over few numbers share one softmax over all combinations (i, j, ...), with the logits a_i + b_j + ...; its
  sums over all indices but one are the single softmaxes.
- The total u joins the softmax of the layers as a further index with the two values +-s u / 2. The difference of the
  sums is f_j tanh(s u / 2), which is f_j u s / 2 up to a relative error of (s u)^2 / 12; its ReLU is layer fraction x
  ReLU(u).
- Voxel x layer energy is one highway layer over all voxels p_i and layer energies F: with the gate sigmoid(s F) and
  the transform -p_i it gives -p_i tanh(s F / 2).

`benchmarks/lwtnn_heads.py` compares this with one softmax for each head and with products that are made of swishes.

Source: ours; the heads are those of arXiv:2309.06515, section 4.2.
"""

from dataclasses import dataclass, replace
from itertools import combinations, pairwise
from math import prod

import numpy as np

from calogen.errors import ExportError
from calogen.lwtnn.graph import Graph, GraphOutput, Node
from calogen.lwtnn.layers import Activation, Affine, Dense, Highway, NetworkLayer, Normalization

SCALE = 2e-5
"""The number s of the constructions above: relative errors are s^2 / 12 and, from rounding, some 1e-16 / s."""

_EXPONENTIAL = 50  # number of multiplications that take as long as one exponential


def denormalise(graph: Graph, layer_sizes: tuple[int, ...], *, join: bool = True) -> Graph:
    """Adds `ShowerHeads` and the product of its fractions to a graph of their logits.

    Args:
        graph: a graph whose only output is a linear dense layer with the logits `[v + l + 1]`.
        layer_sizes: number of voxels of each detector layer, `l` of them, `v` in all.
        join: whether several softmaxes may be joined into one where that saves time.

    Returns:
        the graph of voxel energy / kinetic energy. Its label `out_i` is voxel i, but the labels are not in the order of
        the voxels. It needs lwtnn 2.13, in double precision.

    Raises:
        ExportError: the output is not a linear dense layer of that size.
    """
    output = graph.output()
    logits = graph.nodes[output.node_index]
    dense = graph.layer(logits) if logits.type == "feed_forward" else None
    num_voxels, num_layers = sum(layer_sizes), len(layer_sizes)
    size = num_voxels + num_layers + 1
    if not isinstance(dense, Dense) or dense.activation != Activation() or graph.sizes[output.node_index] != size:
        raise ExportError(f"denormalise needs a graph that ends in a linear dense layer of {size} numbers")
    build = _GraphBuilder(graph, dense, logits.sources[0])
    ends = np.cumsum((0, *layer_sizes, num_layers, 1)).tolist()
    rows = [np.arange(start, stop) for start, stop in pairwise(ends)]
    voxels = [_Group((part,), (len(part),)) for part in rows[:num_layers]]
    energies = _Group((rows[-2], rows[-1]), (num_layers, 2))
    heads = _joined([*voxels, energies], build.trunk_cost if join else 0)
    sources, order = [], []
    for head in heads:
        sources.append(build.head(head))
        order += [item for part in head for item in part.rows[0]]
    joined = build.node("concatenate", sources)
    final = build.product(joined, np.array(order), layer_sizes)
    labels = tuple(f"out_{row}" for row in order if row < num_voxels)
    return Graph(graph.inputs, tuple(build.nodes), tuple(build.layers), {"out": GraphOutput(final, labels)})


@dataclass(frozen=True, eq=False)
class _Group:
    """The logits of one softmax, which may have two indices.

    Args:
        rows: rows of these logits in the dense layer of all logits, one array for each index.
        sizes: number of values of each index over which the softmax runs.
    """

    rows: tuple[np.ndarray, ...]
    sizes: tuple[int, ...]


_Head = list[_Group]  # groups whose logits come from one evaluation of the trunk


def _joined(groups: list[_Group], trunk_cost: int) -> list[_Head]:
    """Heads of the groups, joined where that saves time; layer energies come last."""
    heads = [[group] for group in groups]
    while len(heads) > 1:
        gains = {
            (a, b): trunk_cost + _cost(heads[a]) + _cost(heads[b]) - _cost(heads[a] + heads[b])
            for a, b in combinations(range(len(heads)), 2)
        }
        first, second = max(gains, key=lambda pair: gains[pair])
        if gains[first, second] <= 0:
            break
        heads[second] = heads[first] + heads[second]
        del heads[first]
    return heads


def _cost(head: _Head) -> int:
    """Multiplications of a head, without its logits and the trunk."""
    combined = prod(size for group in head for size in group.sizes)
    logits = sum(len(rows) for group in head for rows in group.rows)
    matrices = 0 if len(head) == len(head[0].rows) == 1 else combined * (logits + sum(g.sizes[0] for g in head))
    return matrices + _EXPONENTIAL * combined


class _GraphBuilder:
    """A graph to which nodes and layers are added; it begins as the graph before the logits."""

    def __init__(self, graph: Graph, dense: Dense, trunk: int) -> None:
        keep = graph.output().node_index
        if any(keep in node.sources for node in graph.nodes if node.type != "input"):
            raise ExportError("denormalise needs logits that nothing else uses")
        kept = [index for index in graph.sizes if index != keep]  # sources before their consumers
        numbers = {index: number for number, index in enumerate(kept)}
        used = sorted({node.layer_index for node in map(graph.nodes.__getitem__, kept) if node.layer_index is not None})
        self.nodes = []
        for node in map(graph.nodes.__getitem__, kept):
            sources = node.sources if node.type == "input" else tuple(numbers[source] for source in node.sources)
            index = None if node.layer_index is None else used.index(node.layer_index)
            self.nodes.append(replace(node, sources=sources, layer_index=index))
        self.layers: list[NetworkLayer] = [graph.layers[index] for index in used]
        self.trunk, width = numbers[trunk], graph.sizes[trunk]
        self._matrix, self._bias = dense.matrix(width), dense.bias if dense.bias.size else np.zeros(len(dense.weights))
        self.trunk_cost = self._evaluation_cost(self.trunk)

    def node(self, kind: str, sources: list[int], layer: NetworkLayer | None = None) -> int:
        """Appends a node and gives its position."""
        self.nodes.append(Node(kind, tuple(sources), layer_index=None if layer is None else len(self.layers)))
        if layer is not None:
            self.layers.append(layer)
        return len(self.nodes) - 1

    def feed(self, source: int, layer: NetworkLayer) -> int:
        """Appends a layer behind a node and gives the position of the layer's node."""
        return self.node("feed_forward", [source], layer)

    def head(self, head: _Head) -> int:
        """Appends the softmaxes of the groups that share one evaluation of the trunk."""
        rows = np.concatenate([part for group in head for part in group.rows])
        weights, bias = self._matrix[rows], self._bias[rows]
        if len(head) == len(head[0].rows) == 1:
            return self.feed(self.trunk, Dense(weights, bias, Activation("softmax")))
        logits = self.feed(self.trunk, Dense(weights, bias))
        indices = np.indices([size for group in head for size in group.sizes])
        spread, sums, has_total, position = [], [], False, 0
        for group in head:
            index = indices[position].ravel()
            picks = np.eye(group.sizes[0])[index]  # [combinations, size]
            spread.append(picks)
            if len(group.sizes) == 2:
                sign = 1.0 - 2.0 * indices[position + 1].ravel()
                spread.append(SCALE / 2 * sign[:, None])
                picks, has_total = picks * (2 / SCALE * sign[:, None]), True
            sums.append(picks.T)
            position += len(group.sizes)
        softmax = self.feed(logits, Dense(np.hstack(spread), np.empty(0), Activation("softmax")))
        activation = Activation("rectified" if has_total else "linear")  # sums of a softmax are never negative
        return self.feed(softmax, Dense(np.vstack(sums), np.empty(0), activation))

    def product(self, joined: int, order: np.ndarray, layer_sizes: tuple[int, ...]) -> int:
        """Appends voxel fraction x layer energy; the layer energies keep their places at the end."""
        size, num_voxels = len(order), sum(layer_sizes)
        layer_of = np.repeat(np.arange(len(layer_sizes)), layer_sizes)
        place = np.argsort(order)  # of a row among the joined heads
        gate, transform = np.zeros((size, size)), np.zeros((size, size))
        gate[place[:num_voxels], place[num_voxels + layer_of]] = SCALE
        transform[place[:num_voxels], place[:num_voxels]] = -1.0
        zero = np.zeros(size)
        highway = self.feed(joined, Highway(Affine(transform, zero), Affine(gate, zero), Activation()))
        return self.feed(highway, Normalization(np.full(size, -2 / SCALE), zero))

    def _evaluation_cost(self, index: int) -> int:
        """Number of multiplications in one evaluation of a node by lwtnn."""
        node = self.nodes[index]
        if node.type == "input":
            return 0
        own = 0 if node.layer_index is None else getattr(self.layers[node.layer_index], "weights", np.empty(0)).size
        return own + sum(self._evaluation_cost(source) for source in node.sources)
