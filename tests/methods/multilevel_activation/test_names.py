import subprocess
import sys

from vismodels.methods.multilevel_activation.names import DECODES, LOSSES


def test_the_names_are_those_of_the_documentation():
    assert LOSSES == ("mse", "mce", "nce", "ordinal", "nested_dice", "ordinal+nested_dice")
    assert DECODES == ("activation", "cumulative")


def test_configurations_can_read_the_names_without_torch():
    module = "vismodels.methods.multilevel_activation.names"
    code = f"import sys, {module}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
