"""Nothing of the machine stays in the file; what we want to say about it goes in."""

import onnx
from onnx import helper

from clipmodel_export.convert import describe
from support.tiny_onnx import build_tiny_onnx

TRACE = 'File "/home/me/secret-project/model.py", line 13'


def build_traced_model() -> onnx.ModelProto:
    """A model with a stack trace wherever ONNX has room for one."""
    model = onnx.load_from_string(build_tiny_onnx())
    branch = helper.make_graph([helper.make_node("Identity", ["image"], ["inner"])], "branch", [], [])
    model.graph.node.append(helper.make_node("If", ["condition"], ["outer"], then_branch=branch, else_branch=branch))
    function = helper.make_function("local", "F", ["x"], ["y"], [helper.make_node("Identity", ["x"], ["y"])], [])
    model.functions.append(function)
    graphs = [model.graph, *(a.g for a in model.graph.node[-1].attribute)]
    model.graph.value_info.append(helper.make_tensor_value_info("tiny_vector", onnx.TensorProto.FLOAT, None))
    described = [model, *graphs, *model.graph.initializer, *model.graph.value_info, *model.functions]
    described += [*model.graph.input, *model.graph.output, *model.functions[0].node]
    described += [node for graph in graphs for node in graph.node]
    for place in described:
        entry = place.metadata_props.add()
        entry.key, entry.value = "stack_trace", TRACE
        place.doc_string = TRACE
    return model


def test_paths_are_taken_out_everywhere() -> None:
    model = build_traced_model()
    assert b"secret-project" in model.SerializeToString()
    describe(model, {})
    assert b"secret-project" not in model.SerializeToString()


def test_metadata_is_put_in_sorted() -> None:
    model = onnx.load_from_string(build_tiny_onnx())
    describe(model, {"clipmodel.weights": "pretrained openai", "clipmodel.architecture": "ViT-B-32"})
    assert [(entry.key, entry.value) for entry in model.metadata_props] == [
        ("clipmodel.architecture", "ViT-B-32"),
        ("clipmodel.weights", "pretrained openai"),
    ]
    assert model.doc_string == ""


def test_a_random_model_says_so_in_its_description() -> None:
    model = onnx.load_from_string(build_tiny_onnx())
    describe(model, {"clipmodel.weights": "random seed=3"})
    assert model.doc_string.startswith("RANDOM WEIGHTS (random seed=3)")
