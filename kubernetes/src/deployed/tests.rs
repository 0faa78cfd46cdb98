use k8s_openapi::jiff::Timestamp;

use super::*;

/// A, B and C come one after the other from one Deployment, U and W from another one; X was made by nobody.
fn set(name: char) -> Set {
    let (second, made_by) = match name {
        'A' => (100, Some("d")),
        'B' => (200, Some("d")),
        'C' => (300, Some("d")),
        'U' => (150, Some("e")),
        'W' => (250, Some("e")),
        _ => (400, None),
    };
    let created = Timestamp::from_second(second).unwrap();
    Set { created, uid: format!("uid-{name}"), name: name.to_string(), made_by: made_by.map(str::to_owned) }
}

/// A capital is a pod that is ready, a small letter one that is not, with `~` before it one that is being deleted; `!` before it has ended, and
/// `?` is one whose ReplicaSet is not known.
fn pods(text: &str) -> Vec<Seen> {
    let letters: Vec<char> = text.chars().collect();
    let pod = |(at, letter): (usize, &char)| {
        let before = at.checked_sub(1).and_then(|at| letters.get(at));
        let has_ended = before == Some(&'!');
        let is_leaving = has_ended || before == Some(&'~');
        (!"~!".contains(*letter)).then(|| Seen {
            name: format!("pod-{at}"),
            ip: String::new(),
            node: String::new(),
            app: None,
            release: Some("canary".to_owned()),
            created: Timestamp::UNIX_EPOCH,
            started: None,
            is_ready: !is_leaving && !letter.is_lowercase(),
            is_leaving,
            has_ended,
            owner: None,
            set: (*letter != '?').then(|| set(letter.to_ascii_uppercase())),
        })
    };
    letters.iter().enumerate().filter_map(pod).collect()
}

/// What is told when this is seen one after the other: `A` is known, `+B` is in the place of another one, `.` is nothing.
fn told(deployed: &mut Deployed, seen: &str) -> String {
    let mut say = |text: &str| match deployed.look(pods(text).iter()) {
        Some(Change { set, is_other }) => format!("{}{}", if is_other { "+" } else { "" }, set.name),
        None => ".".to_owned(),
    };
    let told: Vec<String> = seen.split(' ').map(|text| say(if text == "-" { "" } else { text })).collect();
    told.join(" ")
}

#[test]
fn what_is_a_deployment_and_what_is_not() {
    let check = |what: &str, last: Option<char>, seen: &str, want: &str| {
        assert_eq!(told(&mut Deployed::new("canary", last.map(set)), seen), want, "{what}: {seen}");
    };
    check("rolling update", None, "AA AAb AB A~AB ~AbB ~ABB BB", "A . . . . . +B");
    check("all at once", None, "AA ~A~A - bb Bb BB", "A . . . +B .");
    check("two in a row", None, "A AB A~BC ABC ~A~BC C", "A . . . . +C");
    check("one that never gets ready", None, "A Ab Ab A", "A . . .");
    check("one that never gets ready, without the old one", None, "A b b ~bC C", "A . . . +C");
    check("taken back before it was out", None, "AA AAB A~AB AA~B AA", "A . . . .");
    check("the old pods still answer requests", None, "A AB ~AB ~AB B", "A . . . +B");
    check("an old pod was evicted, and stays", None, "A A!A !AB", "A . +B");
    check("undo", None, "A B AB A~B A", "A +B . . +A");
    check("undo of the undo", None, "A B A B", "A +B +A +B");
    check("scaled to zero and back", None, "AA ~A~A - - a A AA", "A . . . . . .");
    check("scaled to zero, deployed, scaled up", None, "A - B", "A . +B");
    check("scaled to zero, undone, scaled up", None, "B - A", "B . +A");
    check("as many as there is load for", None, "A AAAA AA~A~A AA A", "A . . . .");
    check("drained", None, "A ~A ~Aa ~AA A - a A", "A . . . . . . .");
    check("crashes", None, "AA Aa aa AA", "A . . .");
    check("both for long", None, "A AB AB ABB AB AB", "A . . . . .");
    check("both for long, and they come and go", None, "A AB aB AB Ab ab AB", "A . . . . . .");
    check("both for long, and pods are made again", None, "A AB AB~B ~AaB ~AAB AB", "A . . . . .");
    check("its ReplicaSet is learned late", None, "? A A? AB ?B B", ". A . . +B .");
    check("without a ReplicaSet", None, "? ?? ?", ". . .");
    check("made by nobody", None, "A X", "A +X");
    check("started in the middle", None, "AB AB ~AB B", ". . . +B");
    check("started in the middle of an undo", None, "AB A~B A", ". . +A");
    check("two Deployments side by side", None, "AU ~AU AU - U AU", "U . . . . .");
    check("two Deployments, both at zero", None, "AU ~A~U - A AU", "U . . . .");
    check("two Deployments, the newer one at zero", None, "AU A AU A", "U . . .");
    check("of two Deployments the older one", None, "AU ABU ~ABU BU ABU A~BU AU", "U . . +B . . +A");
    check("of two Deployments the newer one", None, "AU AUW AW", "U . +W");
    check("a Deployment comes", None, "A AW", "A +W");
    check("a Deployment that is older comes back", None, "W AW W", "W . .");
    check("a Deployment is made anew", None, "A ~A - W", "A . . +W");
    // Started again.
    check("nothing happened", Some('A'), "A AA", ". .");
    check("at zero meanwhile", Some('A'), "- A", ". .");
    check("deployed meanwhile", Some('A'), "B B", "+B .");
    check("being deployed", Some('A'), "AB ~AB B", ". . +B");
    check("being deployed, the old pods are going", Some('A'), "~AB B", ". +B");
    check("undone meanwhile", Some('B'), "A", "+A");
    check("being undone", Some('B'), "AB A~B A", ". . +A");
    check("side by side", Some('U'), "AU AU", ". .");
    check("side by side, and one was deployed", Some('U'), "BU", "+B");
    check("side by side, and the older one was not", Some('U'), "Au A~U AU", ". . .");
}

/// Pods of other releases are nothing of it.
#[test]
fn of_its_own_pods_only() {
    let mut deployed = Deployed::new("stable", None);
    assert_eq!(told(&mut deployed, "A B"), ". .");
    assert_eq!(deployed.set(), None);
}

/// Each release is a Deployment of its own, which is deleted when the next one is there.
#[test]
fn what_is_remembered_is_bounded() {
    let mut deployed = Deployed::new("canary", None);
    for at in 0..1_000_i64 {
        let created = Timestamp::from_second(at).unwrap();
        let set = Set { created, uid: at.to_string(), name: "shop".to_owned(), made_by: Some(format!("d-{at}")) };
        let pods = [Seen { set: Some(set.clone()), ..pods("A").remove(0) }];
        assert_eq!(deployed.look(pods.iter()), Some(Change { set, is_other: at > 0 }));
        assert!(deployed.rolled_out.len() <= MAKERS_MAX + 1);
    }
}
