//! The arithmetic of a rollback: pure.

/// What a destination of a split is to a rollback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Goes to 0.
    Candidate,
    /// Takes what the others leave.
    Baseline,
    /// Keeps its share of the traffic.
    Other,
}

/// What the weights of a split add up to afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Total {
    /// 100, as people write Istio's.
    Hundred,
    /// What they added up to before.
    Kept,
}

/// The weights with the candidate at 0.
///
/// With [`Total::Hundred`] an other destination of weight w in a total of W gets floor(100 w / W), and 1 rather than
/// 0 when w > 0; the baseline gets what is left of 100. So every other share moves by less than 1 in 100. Where so
/// many small shares do not fit into 100 beside a baseline of at least 1, the total is kept instead, which moves none.
///
/// With [`Total::Kept`] the baseline gets the candidate's weight on top of its own, and no other weight changes.
///
/// `None` when the total is over `u32::MAX`, when there is no baseline, or when the slices differ in length. Of several
/// baselines the first takes what is left, the rest keep their share.
pub(super) fn rebalance(weights: &[u32], roles: &[Role], total: Total) -> Option<Vec<u32>> {
    let sum: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();
    let sum = u32::try_from(sum).ok()?;
    let baseline = roles.iter().position(|&role| role == Role::Baseline)?;
    if weights.len() != roles.len() {
        return None;
    }
    let share = |of: u32| -> Option<Vec<u32>> {
        let mut after: Vec<u32> = weights
            .iter()
            .zip(roles)
            .enumerate()
            .map(|(i, (&weight, &role))| match role {
                _ if i == baseline => 0,
                Role::Candidate => 0,
                Role::Baseline | Role::Other => scaled(weight, sum, of),
            })
            .collect();
        let taken: u64 = after.iter().map(|&weight| u64::from(weight)).sum();
        let rest = of.checked_sub(u32::try_from(taken).ok()?)?;
        *after.get_mut(baseline)? = rest;
        Some(after)
    };
    let hundred = || share(100).filter(|after| after.get(baseline).is_some_and(|&rest| rest > 0));
    match total {
        Total::Hundred => hundred().or_else(|| share(sum)),
        Total::Kept => share(sum),
    }
}

/// floor(`weight` * `to` / `sum`), at least 1 unless `weight` is 0.
fn scaled(weight: u32, sum: u32, to: u32) -> u32 {
    let exact = (u64::from(weight) * u64::from(to)).checked_div(u64::from(sum)).unwrap_or(0);
    // At most `to`, since no weight is more than the sum of all.
    u32::try_from(exact).unwrap_or(to).max(weight.min(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const C: Role = Role::Candidate;
    const B: Role = Role::Baseline;
    const O: Role = Role::Other;

    #[test]
    fn known_splits() {
        let check = |before: &[u32], roles: &[Role], total, after: Option<&[u32]>| {
            assert_eq!(rebalance(before, roles, total).as_deref(), after, "{before:?} {roles:?}");
        };
        check(&[90, 10], &[B, C], Total::Hundred, Some(&[100, 0]));
        check(&[9, 1], &[B, C], Total::Hundred, Some(&[100, 0]));
        check(&[0, 100], &[B, C], Total::Hundred, Some(&[100, 0]));
        check(&[0, 0], &[B, C], Total::Hundred, Some(&[100, 0]));
        check(&[70, 20, 10], &[B, C, O], Total::Hundred, Some(&[90, 0, 10]));
        // 1 of 3 is 33.3 in 100: 33, and the baseline takes the rest.
        check(&[1, 1, 1], &[B, C, O], Total::Hundred, Some(&[67, 0, 33]));
        // 1 of 1000 would be 0.
        check(&[899, 100, 1], &[B, C, O], Total::Hundred, Some(&[99, 0, 1]));
        check(&[50, 25, 25], &[B, C, C], Total::Hundred, Some(&[100, 0, 0]));
        check(&[40, 20, 40], &[B, C, B], Total::Hundred, Some(&[60, 0, 40]));
        // 9999 of 10001 is 99, 1 of 10001 is 1, nothing is left for the baseline: the total is kept.
        check(&[0, 1, 9999, 1], &[B, C, O, O], Total::Hundred, Some(&[1, 0, 9999, 1]));
        check(&[900, 100, 24], &[B, C, O], Total::Kept, Some(&[1000, 0, 24]));
        check(&[0, 0], &[B, C], Total::Kept, Some(&[0, 0]));
        check(&[u32::MAX, 1], &[B, C], Total::Kept, None);
        check(&[u32::MAX - 1, 1], &[B, C], Total::Kept, Some(&[u32::MAX, 0]));
        check(&[50, 50], &[O, C], Total::Hundred, None);
    }

    fn split() -> impl Strategy<Value = (Vec<u32>, Vec<Role>)> {
        let weight = prop_oneof![0..=3u32, 0..=100u32, 0..=100_000_000u32];
        let others = prop::collection::vec((weight.clone(), Just(O)), 0..12);
        (weight.clone(), weight, others).prop_flat_map(|(baseline, candidate, mut all)| {
            all.extend([(baseline, B), (candidate, C)]);
            Just(all).prop_shuffle().prop_map(|all| all.into_iter().unzip())
        })
    }

    proptest! {
        #[test]
        fn hundred((before, roles) in split()) {
            let after = rebalance(&before, &roles, Total::Hundred).unwrap();
            let sum = |weights: &[u32]| weights.iter().map(|&w| f64::from(w)).sum::<f64>();
            let (was, is) = (sum(&before), sum(&after));
            prop_assert!(is == 100.0 || is == was);
            let moved: u64 = before.iter().zip(&roles).filter(|(_, role)| **role != O).map(|(&w, _)| u64::from(w)).sum();
            for ((&w, &v), &role) in before.iter().zip(&after).zip(&roles) {
                match role {
                    C => prop_assert_eq!(v, 0),
                    B => prop_assert!(v > 0 || moved == 0),
                    O => {
                        prop_assert_eq!(w > 0, v > 0);
                        if w > 0 {
                            prop_assert!((100.0 * f64::from(v) / is - 100.0 * f64::from(w) / was).abs() < 1.0);
                        }
                    }
                }
            }
        }

        #[test]
        fn kept((before, roles) in split()) {
            let after = rebalance(&before, &roles, Total::Kept).unwrap();
            let sum = |weights: &[u32]| weights.iter().map(|&w| u64::from(w)).sum::<u64>();
            prop_assert_eq!(sum(&before), sum(&after));
            let candidate = roles.iter().position(|&role| role == C).unwrap();
            for (i, &role) in roles.iter().enumerate() {
                let expected = match role {
                    C => 0,
                    B => before[i] + before[candidate],
                    O => before[i],
                };
                prop_assert_eq!(after[i], expected);
            }
        }
    }
}
