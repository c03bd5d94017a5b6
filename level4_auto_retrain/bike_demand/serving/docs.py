"""What the application says of itself: examples that work, and a page to try them on.

The usual Swagger page loads its program from a content network, so it stays blank where there is none. This
page is all there is to load.
"""

from typing import Any

from bike_demand.data.schema import EXAMPLE, MAX_ROWS, Conditions
from bike_demand.data.target import LOWEST, MEANING
from bike_demand.serving.body import MAX_BYTES
from bike_demand.serving.keys import HEADER
from bike_demand.serving.outcomes import Outcome

PREDICT = (
    f"Takes one row, and answers one prediction; or a list of 1 to {MAX_ROWS} rows, and answers a list in the"
    f" same order. `prediction`: {MEANING}, never below {LOWEST}. `variant` says whose it is"
    " while a challenger is tested beside the champion; for one hour it is always the same."
)
OUTCOMES = (
    f"Takes the true counts of 1 to {MAX_ROWS} hours, in any order and as late as you like. What is"
    " acknowledged is on the disk. To send an hour again changes nothing; another count corrects it."
)

OUTCOME = {"timestamp": EXAMPLE["timestamp"], "count": 587}
_NIGHT = EXAMPLE | {"timestamp": "2012-06-14T03:00:00", "temp_c": 19.2, "feels_like_c": 21.0, "humidity": 0.8}
_ROW = Conditions.model_json_schema()

PREDICT_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "oneOf": [_ROW, {"type": "array", "items": _ROW, "minItems": 1, "maxItems": MAX_ROWS}]
            },
            "examples": {
                "one row": {"summary": "A working day at 17 h", "value": EXAMPLE},
                "humidity unknown": {
                    "summary": "The station does not tell humidity",
                    "value": EXAMPLE | {"humidity": None},
                },
                "list of rows": {"summary": "Several hours at once", "value": [EXAMPLE, _NIGHT]},
            },
        }
    },
}

_PROBLEM = {
    "type": "object",
    "properties": {
        "detail": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "type": {"type": "string"},
                    "loc": {"type": "array", "items": {"type": ["string", "integer"]}},
                    "msg": {"type": "string"},
                },
            },
        }
    },
}

OUTCOMES_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "type": "array",
                "items": Outcome.model_json_schema(),
                "minItems": 1,
                "maxItems": MAX_ROWS,
            },
            "examples": {
                "one hour": {"summary": "What happened in an hour", "value": [OUTCOME]},
                "two hours": {
                    "summary": "Of two hours",
                    "value": [OUTCOME, {"timestamp": _NIGHT["timestamp"], "count": 8}],
                },
            },
        }
    },
}

REFUSED: dict[int | str, dict[str, Any]] = {
    401: {"description": f"No API key that is known in the header {HEADER}, where keys are in use."},
    403: {"description": "The key is for something else."},
}
NO_MODEL: dict[int | str, dict[str, Any]] = {503: {"description": "No model was released yet."}}
METRICS: dict[int | str, dict[str, Any]] = {
    200: {"description": "The numbers.", "content": {"text/plain": {}}}
}
_TAKEN = REFUSED | {
    413: {"description": f"The body is over {MAX_BYTES} bytes."},
    422: {
        "description": "A field is wrong; `loc` names it.",
        "content": {"application/json": {"schema": _PROBLEM}},
    },
}
PREDICT_ANSWERS = _TAKEN | NO_MODEL
OUTCOMES_ANSWERS = _TAKEN | {503: {"description": "The database is away; nothing was kept."}}

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Bike demand</title>
<meta name="viewport" content="width=device-width">
<style>
 body { font: 16px/1.5 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem; }
 section { border: 1px solid #bbb; border-radius: 6px; padding: 0 1rem 1rem; margin: 1rem 0; }
 h2 { font-size: 1.1rem; } code, textarea, pre { font: 14px/1.4 ui-monospace, monospace; }
 textarea { width: 100%; box-sizing: border-box; } pre { background: #eee; color: #111; padding: .7rem;
 overflow: auto; max-height: 24rem; } li { margin: .2rem 0; }
</style></head><body><main id="all">Loading openapi.json ...</main>
<script>
const make = (tag, text, parent) => {
  const node = document.createElement(tag); node.textContent = text; parent.append(node); return node; };
const show = (path, method, call, all) => {
  const box = make("section", "", all);
  make("h2", method.toUpperCase() + " " + path + ": " + call.summary, box);
  if (call.description) make("p", call.description, box);
  const media = call.requestBody?.content["application/json"];
  let body;
  if (media) {
    const choose = make("select", "", box); choose.ariaLabel = "Example";
    for (const [name, example] of Object.entries(media.examples))
      make("option", example.summary, choose).value = name;
    body = make("textarea", "", box); body.rows = 12; body.ariaLabel = "Body";
    choose.onchange = () => {
      body.value = JSON.stringify(media.examples[choose.value].value, null, 2); };
    choose.onchange();
  }
  const send = make("button", "Send", box);
  const answer = make("pre", "", box); answer.hidden = true;
  send.onclick = async () => {
    answer.hidden = false;
    try {
      const headers = body ? { "Content-Type": "application/json" } : {};
      const key = document.getElementById("key").value;
      if (key && call.security) headers["X-API-Key"] = key;
      const reply = await fetch("." + path, { method: method.toUpperCase(), body: body?.value, headers });
      const text = await reply.text();
      try { answer.textContent = reply.status + "\\n" + JSON.stringify(JSON.parse(text), null, 2); }
      catch { answer.textContent = reply.status + "\\n" + text; }
    } catch (error) { answer.textContent = error; }
  };
  const list = make("ul", "", box);
  for (const [status, reply] of Object.entries(call.responses))
    make("li", status + ": " + reply.description, list);
  if (media) make("pre", JSON.stringify((media.schema.items ?? media.schema.oneOf[0]).properties, null, 1),
    (() => { const more = make("details", "", box); make("summary", "Fields of a row", more);
      return more; })());
};
fetch("openapi.json").then(reply => reply.json()).then(api => {
  const all = document.getElementById("all"); all.textContent = "";
  make("h1", api.info.title, all); make("p", api.info.description, all);
  const label = make("label", "API key, where keys are in use: ", make("p", "", all));
  const key = make("input", "", label); key.id = "key"; key.type = "password"; key.autocomplete = "off";
  for (const [path, calls] of Object.entries(api.paths))
    for (const [method, call] of Object.entries(calls)) show(path, method, call, all);
  const link = make("a", "openapi.json", make("p", "The same for programs: ", all));
  link.href = "openapi.json";
});
</script></body></html>
"""
