"""Which nodes of a graph become one op, and what stood against it where they could not.

    chain   convolution [+ norm by running statistics] [+ addend] [+ activation]
    block   [pointwise chain] + depthwise chain + pointwise chain [+ the block's input]
    pair    batch norm + activation
    gate    mean of the pixels, two dense layers, sigmoid, product: squeeze and excite
    gated   gate + the pointwise chain that alone reads it

Source: Howard et al., "MobileNets" (2017), figure 3; Sandler et al., "MobileNetV2" (2018), table 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from torch.fx import Graph, Node

from lamina.graph.pattern import elementwise, layers, nodes
from lamina.graph.pattern.gates import Gate, gates
from lamina.graph.pattern.layers import Convolution, Normalization
from lamina.graph.pattern.memory import Memory

__all__ = ["Block", "Chain", "Found", "Gated", "Group", "Pair", "find"]


@dataclass(frozen=True)
class Chain:
    """A convolution and what follows it.

    Args:
        convolution: at its head.
        members: its nodes, in order; the last one's value is the chain's.
        norm: by running statistics.
        addend: an image added before the activation.
        activation: a kernel's name; "none" for none.
        negative_slope: of leaky_relu.
    """

    convolution: Convolution
    members: tuple[Node, ...]
    norm: Normalization | None = None
    addend: Node | None = None
    activation: str = "none"
    negative_slope: float = 0.01

    @property
    def last(self) -> Node:
        """The node whose value is the chain's."""
        return self.members[-1]

    @property
    def reads(self) -> tuple[Node, ...]:
        """What it reads from outside."""
        c, n = self.convolution, self.norm
        norm = () if n is None else (n.mean, n.variance, n.weight, n.bias)
        found = (c.x, c.weight, c.bias, self.addend, *norm)
        return tuple(node for node in found if node is not None)


@dataclass(frozen=True)
class Block:
    """A separable convolution with what stands around it, as one op makes it tile by tile."""

    depthwise: Chain
    project: Chain
    expand: Chain | None = None

    @property
    def has_shortcut(self) -> bool:
        """Whether it adds its input."""
        return self.project.addend is not None

    @property
    def chains(self) -> tuple[Chain, ...]:
        """In order."""
        return (*(() if self.expand is None else (self.expand,)), self.depthwise, self.project)

    @property
    def x(self) -> Node:
        """The image that it reads."""
        return self.chains[0].convolution.x

    @property
    def members(self) -> tuple[Node, ...]:
        """Its nodes; the last one's value is the block's."""
        return tuple(node for chain in self.chains for node in chain.members)

    @property
    def last(self) -> Node:
        """The node whose value is the block's."""
        return self.members[-1]

    @property
    def reads(self) -> tuple[Node, ...]:
        """What it reads from outside."""
        inside = set(self.members)
        return tuple(n for chain in self.chains for n in chain.reads if n not in inside)


@dataclass(frozen=True)
class Pair:
    """A batch normalisation with the activation behind it, or alone."""

    norm: Normalization
    members: tuple[Node, ...]
    activation: str = "none"
    negative_slope: float = 0.01

    @property
    def last(self) -> Node:
        """The node whose value is the pair's."""
        return self.members[-1]


@dataclass(frozen=True)
class Gated:
    """A pointwise convolution of images that a squeeze and excite has weighed."""

    gate: Gate
    project: Chain

    @property
    def members(self) -> tuple[Node, ...]:
        """Its nodes; the last one's value is the projection's."""
        return (*self.gate.members, *self.project.members)

    @property
    def last(self) -> Node:
        """The node whose value is the projection's."""
        return self.members[-1]


Group = Block | Chain | Pair | Gate | Gated


@dataclass
class Found:
    """What a graph is made of.

    Args:
        groups: in the order of their last nodes; no node is in two.
        apart: nodes that follow a convolution and could not join it, with the reason.
    """

    groups: list[Group] = field(default_factory=list)
    apart: dict[Node, str] = field(default_factory=dict)


def find(graph: Graph, *, differentiates: bool) -> Found:
    """The groups of a graph.

    Args:
        graph: that was captured; nothing in it is changed.
        differentiates: whether gradients may be asked for. Then a convolution keeps to itself: its
            output is what the normalisation's gradient is made of.
    """
    memory = Memory(graph)
    found = Found()
    taken: set[Node] = set()
    if not differentiates:
        alone = list(gates(graph, memory))
        inside = {node for gate in alone for node in gate.members}
        chains = {chain.last: chain for chain in _chains(graph, memory, found.apart, inside)}
        blocks = list(_blocks(chains, memory))
        for block in blocks:
            for chain in block.chains:
                del chains[chain.last]
        gated = list(_gated(alone, chains, memory))
        for one in gated:
            alone.remove(one.gate)
            del chains[one.project.last]
        found.groups += [*alone, *blocks, *gated, *chains.values()]
        taken = {node for group in found.groups for node in group.members}
    found.groups += _pairs(graph, memory, taken)
    order = {node: at for at, node in enumerate(graph.nodes)}
    found.groups.sort(key=lambda group: order[group.last])
    return found


def _chains(
    graph: Graph, memory: Memory, apart: dict[Node, str], inside: set[Node]
) -> Iterator[Chain]:
    taken: set[Node] = set(inside)
    for node in graph.nodes:
        convolution = None if node in inside else layers.convolution(node)
        if convolution is None:
            continue
        chain = Chain(convolution, (node,))
        chain = _joined(chain, _with_norm, memory, apart)
        chain = _joined(chain, _with_addend, memory, apart, taken)
        chain = _joined(chain, _with_activation, memory, apart)
        taken.update(chain.members)
        yield chain


def _joined(
    chain: Chain,
    join: object,
    memory: Memory,
    apart: dict[Node, str],
    taken: set[Node] | None = None,
) -> Chain:
    """The chain with its next node, where that may be computed in its place."""
    longer: Chain | None = join(chain, memory)  # type: ignore[operator]
    if longer is None or (taken and longer.last in taken):
        return chain
    if not memory.may_move(longer.members, longer.reads):
        apart[longer.last] = "what it reads is changed in between"
        return chain
    return longer


def _with_norm(chain: Chain, _: Memory) -> Chain | None:
    node = nodes.sole_user(chain.last)
    norm = None if node is None else layers.normalization(node)
    if node is None or norm is None or norm.x is not chain.last or not norm.is_affine:
        return None
    return replace(chain, members=(*chain.members, node), norm=norm)


def _with_addend(chain: Chain, memory: Memory) -> Chain | None:
    node = nodes.sole_user(chain.last)
    total = None if node is None else elementwise.sum_of(node)
    if node is None or total is None or chain.convolution.is_depthwise:
        return None
    if total.is_inplace and total.left is not chain.last:
        return None  # it changes somebody else's tensor
    addend = total.other(chain.last)
    return replace(chain, members=(*chain.members, node), addend=addend)


def _with_activation(chain: Chain, _: Memory) -> Chain | None:
    node = nodes.sole_user(chain.last)
    found = None if node is None else elementwise.activation(node)
    if node is None or found is None or found.x is not chain.last:
        return None
    return replace(
        chain,
        members=(*chain.members, node),
        activation=found.name,
        negative_slope=found.negative_slope,
    )


_BLOCKS_SLOPE = 0.01  # of leaky_relu: the block's kernel knows no other


def _blocks(chains: dict[Node, Chain], memory: Memory) -> Iterator[Block]:
    taken: set[Node] = set()
    for depthwise in chains.values():
        if not depthwise.convolution.is_depthwise or not _fits_a_block(depthwise):
            continue
        user = nodes.sole_user(depthwise.last)
        project = next((chain for chain in chains.values() if chain.convolution.node is user), None)
        if project is None or not _is_pointwise(project) or not _fits_a_block(project):
            continue
        if project.convolution.x is not depthwise.last:
            continue
        expand = chains.get(depthwise.convolution.x)
        if expand is not None and not (
            expand.last not in taken  # by the block in front, whose projection it is
            and _is_pointwise(expand)
            and expand.addend is None
            and _fits_a_block(expand)
            and nodes.sole_user(expand.last) is depthwise.convolution.node
        ):
            expand = None
        block = Block(depthwise, project, expand)
        # The op adds its own input, behind everything.
        adds_other = project.addend is not block.x or project.activation != "none"
        if project.addend is not None and adds_other:
            continue
        if memory.may_move(block.members, block.reads):
            taken.update(chain.last for chain in block.chains)
            yield block


def _is_pointwise(chain: Chain) -> bool:
    return chain.convolution.is_pointwise


def _fits_a_block(chain: Chain) -> bool:
    """Whether the kernel has what follows; a bias under a norm it has not."""
    if chain.activation == "leaky_relu" and chain.negative_slope != _BLOCKS_SLOPE:
        return False
    return chain.convolution.bias is None or chain.norm is None


def _gated(alone: list[Gate], chains: dict[Node, Chain], memory: Memory) -> Iterator[Gated]:
    projections = {c.convolution.x: c for c in chains.values() if c.convolution.is_pointwise}
    for gate in alone:
        project = projections.get(gate.last)
        if project is not None and nodes.sole_user(gate.last) is project.convolution.node:
            gated = Gated(gate, project)
            if memory.may_move(gated.members, (*gate.reads, *project.reads)):
                yield gated


def _pairs(graph: Graph, memory: Memory, taken: set[Node]) -> Iterator[Pair]:
    for node in graph.nodes:
        norm = None if node in taken else layers.normalization(node)
        if norm is None:
            continue
        pair = Pair(norm, (node,))
        user = nodes.sole_user(node)
        found = None if user is None else elementwise.activation(user)
        if user is not None and found is not None and found.x is node:
            longer = Pair(norm, (node, user), found.name, found.negative_slope)
            if memory.may_move(longer.members, ()):
                pair = longer
        yield pair
