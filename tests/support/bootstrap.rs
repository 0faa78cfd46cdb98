//! The files of `envoy-configs/local`, made to run beside each other: the ports and paths are replaced, and
//! nothing else, so that what is tested is what a user gets.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::artifacts;

/// A file of `envoy-configs/local` as a value.
///
/// # Errors
/// When it cannot be read, or is no YAML.
pub fn shipped(file: &str) -> Result<Value> {
    let path = directory().join(file);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_saphyr::from_str(&text).with_context(|| format!("{} is no YAML", path.display()))
}

/// `envoy-configs/local`.
pub fn directory() -> PathBuf {
    artifacts::root().join("envoy-configs/local")
}

/// A bootstrap file, to be adapted.
#[derive(Clone, Debug)]
pub struct Bootstrap(Value, String);

impl Bootstrap {
    /// One that is no shipped file; the statistics of its requests begin with `stat_prefix`.
    pub fn new(value: Value, stat_prefix: String) -> Self {
        Bootstrap(value, stat_prefix)
    }

    /// The file as it is shipped, but on ports that the kernel chooses and with the filter that was built.
    ///
    /// # Errors
    /// When it cannot be read, or the filter was not built.
    pub fn shipped(file: &str) -> Result<Self> {
        let value = shipped(file)?;
        let prefix = value.pointer("/static_resources/listeners/0/filter_chains/0/filters/0/typed_config/stat_prefix");
        let prefix = prefix.and_then(Value::as_str).with_context(|| format!("{file} has no stat_prefix"))?.to_owned();
        let mut bootstrap = Bootstrap(value, prefix);
        for pointer in ["/admin", "/static_resources/listeners/0"] {
            let address = bootstrap.0.pointer_mut(&format!("{pointer}/address/socket_address/port_value"));
            *address.with_context(|| format!("{file} has no port at {pointer}"))? = json!(0);
        }
        bootstrap.filter(&artifacts::filter()?).with_context(|| format!("in {file}"))
    }

    /// With this module as filter.
    ///
    /// # Errors
    /// When this bootstrap has no filter.
    pub fn filter(mut self, module: &Path) -> Result<Self> {
        let replaced = replace(&mut self.0, "local", "filename", &json!(module));
        ensure!(replaced > 0, "the bootstrap has no filter");
        Ok(self)
    }

    /// With the filter fetched from `address` at `/filter.wasm`, if it has this SHA-256.
    ///
    /// # Errors
    /// When this bootstrap has no filter or no clusters.
    pub fn fetched_filter(mut self, address: SocketAddr, sha256: &str) -> Result<Self> {
        let uri = json!({ "uri": format!("http://{address}/filter.wasm"), "cluster": "serin-http", "timeout": "10s" });
        let remote = json!({ "remote": { "http_uri": uri, "sha256": sha256 } });
        ensure!(replace(&mut self.0, "vm_config", "code", &remote) > 0, "the bootstrap has no filter");
        let clusters = self.0.pointer_mut("/static_resources/clusters").and_then(Value::as_array_mut);
        let cluster = json!({ "name": "serin-http", "type": "STATIC", "load_assignment": {
            "cluster_name": "serin-http", "endpoints": [] } });
        clusters.context("the bootstrap has no clusters")?.push(cluster);
        self.cluster("serin-http", &[address])
    }

    /// With the routes in this file.
    ///
    /// # Errors
    /// When this bootstrap has no routes in a file.
    pub fn routes(self, file: &Path) -> Result<Self> {
        self.replacing("path_config_source", "path", &json!(file))
    }

    /// With the listener in a file of its own that Envoy watches, on a port that stays the same when it changes.
    ///
    /// # Errors
    /// When there is no free port, or the file cannot be written.
    pub fn listener_in(mut self, file: &Path) -> Result<(Self, Listener)> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let listeners = self.0.pointer_mut("/static_resources/listeners").context("the bootstrap has no listeners")?;
        let mut listener = listeners.get_mut(0).map(Value::take).context("the bootstrap has no listener")?;
        *listeners = json!([]);
        let address = listener.pointer_mut("/address/socket_address/port_value");
        *address.context("the listener has no port")? = json!(port);
        let source = json!({ "resource_api_version": "V3", "path_config_source": { "path": file } });
        let bootstrap = self.0.as_object_mut().context("the bootstrap is no mapping")?;
        bootstrap.insert("dynamic_resources".to_owned(), json!({ "lds_config": source }));
        let listener = Listener { value: listener, file: file.to_owned() };
        listener.write()?;
        Ok((self, listener))
    }

    /// With another value at the only `parent.key` there is.
    ///
    /// # Errors
    /// When there is none, or several.
    pub fn replacing(mut self, parent: &str, key: &str, with: &Value) -> Result<Self> {
        let replaced = replace(&mut self.0, parent, key, with);
        ensure!(replaced == 1, "the bootstrap has {replaced} {parent}.{key}, not one");
        Ok(self)
    }

    /// With what `change` makes of it.
    pub fn change(mut self, change: impl FnOnce(&mut Value)) -> Self {
        change(&mut self.0);
        self
    }

    /// With what `change` makes of its connection manager.
    ///
    /// # Errors
    /// When it has none.
    pub fn connection_manager(mut self, change: impl FnOnce(&mut Value)) -> Result<Self> {
        let manager = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";
        change(self.0.pointer_mut(manager).context("the bootstrap has no connection manager")?);
        Ok(self)
    }

    /// With another key in the filter's configuration.
    ///
    /// # Errors
    /// When it has none that counts.
    pub fn plugin_key(mut self, key: &str, value: &Value) -> Result<Self> {
        fn add(within: &mut Value, key: &str, value: &Value) -> usize {
            match within {
                Value::Object(map) => map.values_mut().map(|inner| add(inner, key, value)).sum(),
                Value::Array(items) => items.iter_mut().map(|item| add(item, key, value)).sum(),
                Value::String(text) if text.contains("\"vantage\"") => {
                    let mut plugin: Value = serde_json::from_str(text).unwrap_or_default();
                    plugin[key] = value.clone();
                    *text = plugin.to_string();
                    1
                }
                _ => 0,
            }
        }
        ensure!(add(&mut self.0, key, value) == 1, "the bootstrap has no configuration of the filter that counts");
        Ok(self)
    }

    /// With another cluster, the same as one it has but for its name and addresses.
    ///
    /// # Errors
    /// When there is no such cluster.
    pub fn another_cluster(mut self, like: &str, name: &str, addresses: &[SocketAddr]) -> Result<Self> {
        let clusters = self.0.pointer_mut("/static_resources/clusters").and_then(Value::as_array_mut);
        let clusters = clusters.context("the bootstrap has no clusters")?;
        let like = clusters.iter().find(|cluster| cluster.get("name") == Some(&json!(like))).cloned();
        let mut cluster = like.context("the bootstrap has no such cluster")?;
        for pointer in ["/name", "/load_assignment/cluster_name"] {
            *cluster.pointer_mut(pointer).context("the cluster has no name")? = json!(name);
        }
        clusters.push(cluster);
        self.cluster(name, addresses)
    }

    /// With a cluster at these addresses.
    ///
    /// # Errors
    /// When there is no such cluster.
    pub fn cluster(mut self, name: &str, addresses: &[SocketAddr]) -> Result<Self> {
        let clusters = self.0.pointer_mut("/static_resources/clusters").and_then(Value::as_array_mut);
        let cluster = clusters.into_iter().flatten().find(|cluster| cluster.get("name") == Some(&json!(name)));
        let endpoints = cluster.and_then(|cluster| cluster.pointer_mut("/load_assignment/endpoints"));
        let endpoint = |address: &SocketAddr| {
            let socket_address = json!({ "address": address.ip(), "port_value": address.port() });
            json!({ "endpoint": { "address": { "socket_address": socket_address } } })
        };
        let all: Vec<Value> = addresses.iter().map(endpoint).collect();
        *endpoints.with_context(|| format!("the bootstrap has no cluster {name}"))? = json!([{ "lb_endpoints": all }]);
        Ok(self)
    }

    /// What the statistics of its requests begin with.
    pub fn stat_prefix(&self) -> &str {
        &self.1
    }

    /// As Envoy reads it.
    pub fn json(&self) -> &Value {
        &self.0
    }
}

/// The configuration of the access logger that counts, which comes after the one for exceptions.
const PLUGIN: &str = "/filter_chains/0/filters/0/typed_config/access_log/1/typed_config/config/configuration/value";

/// A listener that Envoy reads from a file.
#[derive(Debug)]
pub struct Listener {
    value: Value,
    file: PathBuf,
}

impl Listener {
    /// Gives the filter this configuration, which Envoy takes up by itself.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn reconfigure(&mut self, plugin: &str) -> Result<()> {
        *self.value.pointer_mut(PLUGIN).context("the listener has no filter")? = json!(plugin);
        self.write()
    }

    /// The filter's configuration.
    pub fn plugin(&self) -> Option<&str> {
        self.value.pointer(PLUGIN)?.as_str()
    }

    /// Envoy takes up what is moved over the old file.
    fn write(&self) -> Result<()> {
        let mut listener = self.value.clone();
        if let Some(map) = listener.as_object_mut() {
            map.insert("@type".to_owned(), json!("type.googleapis.com/envoy.config.listener.v3.Listener"));
        }
        let fresh = self.file.with_extension("new");
        fs::write(&fresh, serde_json::to_vec(&json!({ "resources": [listener] }))?)?;
        Ok(fs::rename(&fresh, &self.file)?)
    }
}

/// Replaces `parent.key` wherever it is; returns how often.
fn replace(value: &mut Value, parent: &str, key: &str, with: &Value) -> usize {
    let mut replaced = 0;
    match value {
        Value::Object(map) => {
            if let Some(old) = map.get_mut(parent).and_then(|inner| inner.get_mut(key)) {
                old.clone_from(with);
                replaced += 1;
            }
            replaced += map.values_mut().map(|inner| replace(inner, parent, key, with)).sum::<usize>();
        }
        Value::Array(items) => replaced += items.iter_mut().map(|item| replace(item, parent, key, with)).sum::<usize>(),
        _ => {}
    }
    replaced
}
