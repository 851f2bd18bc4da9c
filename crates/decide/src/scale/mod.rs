//! KEDA's scale loop: activation, cooldown, fallback, pause, idle.
