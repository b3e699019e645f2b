"""The forms by name."""

from numpylm.scaling.laws.annealing import Annealing
from numpylm.scaling.laws.data_constrained import DataConstrained
from numpylm.scaling.laws.power_laws import Law, PowerSum

LAWS: tuple[Law, ...] = (
    *(PowerSum(x.lower(), (x,), offset=False) for x in "NDC"),
    *(PowerSum(f"{x.lower()}-offset", (x,)) for x in "NDC"),
    PowerSum("kaplan", ("N", "D"), offset=False, gamma="last"),
    PowerSum("chinchilla", ("N", "D")),
    PowerSum("generalised", ("N", "D"), gamma="free"),
    DataConstrained(),
    Annealing(),
)
FORMS = {law.form: law for law in LAWS}
