"""`doctor`: what `check` looks at, and what surrounds it: containers, leftovers, clock, disk.

It changes nothing. What it can't see without being root, it says.
"""

from jarvis_secretsd.daemon.doctor.examination import Diagnosis, examine
from jarvis_secretsd.daemon.doctor.symptoms import Level, Symptom

__all__ = ["Diagnosis", "Level", "Symptom", "examine"]
