//! Are histograms on disk what was reported: whatever is merged, dropped, killed or damaged?

#[cfg(test)]
mod faults;
#[cfg(test)]
mod keeps;
#[cfg(test)]
mod kills;
#[cfg(test)]
mod support;
