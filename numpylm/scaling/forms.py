"""§6.2 The forms by name."""

from numpylm.scaling.annealing import Annealing
from numpylm.scaling.laws import Law, PowerSum
from numpylm.scaling.repeated import DataConstrained

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
