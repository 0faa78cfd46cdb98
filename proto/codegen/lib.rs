//! Holds one test, `generated_is_current`, which is also the generator (`make proto`).
