"""Labels by Quantum ESPRESSO, through aiida-quantumespresso: known to the rest by its entry points alone."""
