//! Label selectors of Kubernetes as Calico writes them.

use catchment_core::knowledge::{LabelExpression, LabelOperator, LabelSelector};

/// What a label selector of Kubernetes is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Pods; what is no pod is left out.
    Pods,
    /// Namespaces.
    Namespaces,
}

/// The selector in Calico's language. `None` selects all pods, and for namespaces it is empty: the own namespace.
pub fn calico_text(selector: Option<&LabelSelector>, subject: Subject) -> String {
    let mut terms = Vec::new();
    if subject == Subject::Pods {
        terms.push("projectcalico.org/orchestrator == 'k8s'".to_owned());
    }
    if let Some(selector) = selector {
        terms.extend(selector.match_labels.iter().map(|(key, value)| format!("{key} == '{value}'")));
        terms.extend(selector.match_expressions.iter().map(term));
        if terms.is_empty() {
            return "all()".to_owned();
        }
    }
    terms.join(" && ")
}

fn term(expression: &LabelExpression) -> String {
    let LabelExpression { key, operator, values } = expression;
    let set = |operator: &str| format!("{key} {operator} {{ '{}' }}", values.join("', '"));
    match operator {
        LabelOperator::In => set("in"),
        LabelOperator::NotIn => set("not in"),
        LabelOperator::Exists => format!("has({key})"),
        LabelOperator::DoesNotExist => format!("! has({key})"),
    }
}
