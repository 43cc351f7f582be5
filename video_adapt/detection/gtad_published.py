"""How published G-TAD files call the weights of :class:`~video_adapt.detection.gtad.GTADHead`."""

from itertools import product

_GRAPHS = (
    ("neck", "graph"),
    (r"rpn_head\.tem\.(\d+)\.0", r"boundaries.\1.0"),
    (r"roi_head\.proposal_roi_extractor\.gcnext", "proposals.graph"),
)
_BRANCHES = (("tconvs", "temporal"), ("sconvs", "semantic"))
_LAYERS = ((0, "reduce"), (2, "mix"), (4, "expand"))

# Regular expression of the whole published name, without the leading "module.", and our name; the
# first that matches decides. No tensor changes its shape.
PUBLISHED_NAMES = (
    *(
        (rf"{theirs}\.{branch}\.{number}\.(?P<kind>.*)", rf"{ours}.{branch_ours}.{layer}.\g<kind>")
        for (theirs, ours), (branch, branch_ours), (number, layer) in product(
            _GRAPHS, _BRANCHES, _LAYERS
        )
    ),
    (r"projection\.convs\.0\.conv\.(.*)", r"projection.\1"),
    (r"rpn_head\.tem\.(\d+)\.1\.conv\.(.*)", r"boundaries.\1.1.\2"),
    (r"roi_head\.proposal_roi_extractor\.conv2d\.0\.(.*)", r"proposals.sub_graphs.mix.\1"),
    (r"roi_head\.proposal_head\.head\.(\d+)\.0\.(.*)", r"confidences.convs.\1.\2"),
    (r"roi_head\.proposal_head\.head\.\d+\.(.*)", r"confidences.output.\1"),
)
