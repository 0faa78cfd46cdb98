//! Takes a candidate out of traffic: fetch (IO) -> plan (pure) -> apply (IO).
