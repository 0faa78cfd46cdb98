//! What if the written VirtualService never reaches the proxies? Then the decision says so, and the user's file holds
//! the rollback and is otherwise as it was.

use std::{fs, time::Duration};

use anyhow::Result;
use serin_proto::v1::DecisionStage;
use support::{
    gateway::{ACCESS_LOG, Shop},
    load::{Load, Plan, Protocol},
    poll,
    rig::Rig,
    serin::Serin,
    service::Behaviour,
};

const DECIDED_WITHIN: Duration = Duration::from_secs(120);
const SOON: Duration = Duration::from_secs(30);

const MANIFEST: &str = "\
# Owned by the shop team.
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop, namespace: default}
spec:
  hosts: [shop]
  http:
  - name: primary   # the only one
    timeout: 3s
    route:
    - destination: {host: shop, subset: v1}
      weight: 50
    - destination: {host: shop, subset: v2}
      weight: 50 # on trial
";

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_that_nobody_follows_is_said() -> Result<()> {
    let rig = Rig::start(Shop::open(2, 0.1).await?, ACCESS_LOG).await?;
    let dir = rig.shop.dir();
    let manifests = dir.join("manifests");
    fs::create_dir(&manifests)?;
    fs::write(manifests.join("shop.yaml"), MANIFEST)?;
    let config = dir.join("istio.yaml");
    let text = format!(
        "listen: {{grpc: '127.0.0.1:0', metrics: '127.0.0.1:0'}}\n\
         data_dir: {}\n\
         services:\n\
         - {{name: shop, vantage: gateway, baseline: v1, candidate: v2,\n\
         \x20  rollback: {{confirm_within: 4s, virtual_services: {{directory: {}, host: shop}}}}}}\n",
        dir.join("data").display(),
        manifests.display()
    );
    fs::write(&config, text)?;
    let serin = Serin::start(&config, &dir.join("serin.log")).await?;
    rig.proxy.heal(serin.grpc);
    rig.shop.v2.behave(Behaviour::Errors(0.9));
    let load = Load::start(Plan { requests: 400 * 300, ..Plan::new(rig.envoy.address, Protocol::Http1) })?;

    let told = poll::until("the decision to say that it has no effect", DECIDED_WITHIN, async || {
        let newest = serin.decisions().await?.into_iter().next();
        let event = newest.and_then(|d| d.events.into_iter().find(|e| e.stage() == DecisionStage::NotInEffect));
        Ok(event.map(|event| event.sentence))
    });
    let told = told.await?;
    assert!(told.starts_with("the rollback did not take effect: 4 s after it was written v2 still gets"), "{told}");
    assert_eq!(serin.metric("serin_rollback_unconfirmed", &[("service", "shop"), ("candidate", "v2")]).await?, 1);
    let written = fs::read_to_string(manifests.join("shop.yaml"))?;
    assert_eq!(written, MANIFEST.replace("weight: 50\n", "weight: 100\n").replace("weight: 50 #", "weight: 0 #"));

    let tally = load.stop(SOON).await;
    assert_eq!(rig.agree(&serin).await?, tally.sent);
    Ok(())
}
