"""Messages to outcomes: who, may they, do it, witness it. Pure; read `service` first."""
