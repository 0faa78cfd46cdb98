//! A fight with another writer: Argo CD writes the old weights of Git back, twice. The rollback is written again each time, and who did it,
//! how often, and what to paste into its Application is said in the decision and to those who are told of decisions.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result};
use serde_json::json;
use serin_proto::v1::DecisionStage;
use support::{api_server::ApiServer, feed::Feed, poll, serin::Serin};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::mpsc,
};

use crate::a_rollback_in_the_cluster::{PATH, virtual_service};

/// An object is looked at every 5 s, and written the third time 5 s after the second.
const SOON: Duration = Duration::from_secs(60);

struct Fight {
    api: ApiServer,
    serin: Serin,
    notices: mpsc::UnboundedReceiver<String>,
    _dir: TempDir,
}

impl Fight {
    async fn start() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let api = ApiServer::start(PATH, virtual_service(), false).await?;
        let (receiver, notices) = webhook().await?;
        let text = format!(
            "listen: {{ grpc: \"127.0.0.1:0\", metrics: \"127.0.0.1:0\" }}\n\
             data_dir: {}\n\
             notify: [webhook: {{ url: \"http://{receiver}\" }}]\n\
             services:\n\
             - {{ name: shop, vantage: gateway, baseline: v1, candidate: v2, rollback: {{ hold: 30m, kubernetes: {{ kind: \
             VirtualService, namespace: shop-ns, name: shop, host: shop }} }} }}\n",
            json!(dir.path().join("serin-data"))
        );
        let config = dir.path().join("serin.yaml");
        std::fs::write(&config, text)?;
        let kubeconfig = api.kubeconfig(dir.path())?;
        let log = dir.path().join("serin.log");
        let serin = Serin::start_in(&config, &log, &[], &[("KUBECONFIG", &kubeconfig)]).await?;
        Ok(Fight { api, serin, notices, _dir: dir })
    }

    fn weights(&self) -> (u64, u64) {
        let object = self.api.object();
        let weight = |at: usize| object["spec"]["http"][0]["route"][at]["weight"].as_u64().unwrap_or_default();
        (weight(0), weight(1))
    }

    fn write_back(&self) {
        self.api.write("argocd-controller", |object| object["spec"] = virtual_service()["spec"].clone());
    }

    /// Waits until the candidate has no weight, and the decision says so for the `times`th time.
    async fn rolled_back(&self, times: usize) -> Result<Vec<String>> {
        poll::until("the rollback to be written", SOON, async || {
            let decision = self.serin.decisions().await?.into_iter().next().unwrap_or_default();
            let of = |stage| decision.events.iter().filter(move |event| event.stage() == stage);
            let is_written = of(DecisionStage::Written).count() == times && self.weights() == (100, 0);
            let back = of(DecisionStage::NotInEffect).map(|event| event.sentence.clone());
            Ok(is_written.then(|| back.filter(|said| said.contains("written back")).collect()))
        })
        .await
    }
}

/// Takes the bodies of what is posted.
async fn webhook() -> Result<(SocketAddr, mpsc::UnboundedReceiver<String>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let (notices, receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let notices = notices.clone();
            tokio::spawn(async move {
                let (mut text, mut part) = (String::new(), [0; 4_096]);
                while let Ok(read @ 1..) = stream.read(&mut part).await {
                    text.push_str(&String::from_utf8_lossy(&part[..read]));
                    if text.ends_with('}') {
                        let _ = notices.send(std::mem::take(&mut text));
                        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
                    }
                }
            });
        }
    });
    Ok((address, receiver))
}

#[tokio::test]
async fn who_writes_the_old_weights_back_is_named_and_told_what_to_paste() -> Result<()> {
    let mut fight = Fight::start().await?;
    let feed = Feed::start(fight.serin.grpc);
    fight.rolled_back(1).await?;
    // What follows is not about requests.
    drop(feed);

    fight.write_back();
    let said = fight.rolled_back(2).await?;
    let first = said.first().context("nothing is said")?;
    assert!(first.contains("written back by argocd-controller (Argo CD) once"), "{first}");
    assert!(first.contains("ignoreDifferences:") && first.contains(".spec.http[]?.route[]?.weight"), "{first}");
    fight.write_back();
    let said = fight.rolled_back(3).await?;
    let second = said.last().context("nothing is said")?;
    assert!(second.contains("written back by argocd-controller (Argo CD) 2 times"), "{second}");
    assert_eq!(fight.api.patches().len(), 3);
    let notice = async {
        loop {
            let notice = fight.notices.recv().await.context("no notice")?;
            if notice.contains("Argo CD) once") {
                return anyhow::Ok(notice);
            }
        }
    };
    let notice = tokio::time::timeout(SOON, notice).await??;
    assert!(notice.contains("RespectIgnoreDifferences=true"), "{notice}");
    Ok(())
}
