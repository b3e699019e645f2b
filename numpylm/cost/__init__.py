"""What a run costs, before it is made: memory, time, energy and CO2."""
