import type { Perspective } from "@graphcap/bridge";
import { useAnalyze, type Item } from "@graphcap/bridge/react";
import { useEffect, useState, type DragEvent } from "react";
import { captioner } from "./bridge";

const SELECTED = ["alt_text", "graph_caption", "training_tags"];

/** Drop a photo and watch several perspectives fill in. Leaving this view cancels what runs. */
export function Captions({ perspectives }: { perspectives: Perspective[] }) {
  const [selected, setSelected] = useState(SELECTED);
  const [provider, setProvider] = useState("");
  const [photo, setPhoto] = useState<File | null>(null);
  const [dragging, setDragging] = useState(false);
  const { state, items, error, start, cancel } = useAnalyze(captioner, selected);

  function caption(file: File) {
    setPhoto(file);
    void start(file, provider ? { provider } : {});
  }

  function choose(files: FileList | null) {
    if (files?.[0]) caption(files[0]);
  }

  function drop(event: DragEvent) {
    event.preventDefault();
    setDragging(false);
    choose(event.dataTransfer.files);
  }

  function toggle(name: string) {
    setSelected((before) => (before.includes(name) ? before.filter((each) => each !== name) : [...before, name]));
  }

  return (
    <div
      className={dragging ? "drop dragging" : "drop"}
      onDragOver={(event) => {
        event.preventDefault();
        setDragging(true);
      }}
      onDragLeave={() => setDragging(false)}
      onDrop={drop}
    >
      <form onSubmit={(event) => event.preventDefault()}>
        <label>
          Photo: drop it anywhere, or{" "}
          <input type="file" accept="image/*" onChange={(event) => choose(event.target.files)} />
        </label>
        <label>
          Provider{" "}
          <input value={provider} placeholder="the default" onChange={(event) => setProvider(event.target.value)} />
        </label>
        <details>
          <summary>{selected.length} perspectives</summary>
          {perspectives.map(({ name, display_name }) => (
            <label key={name}>
              <input type="checkbox" checked={selected.includes(name)} onChange={() => toggle(name)} /> {display_name}
            </label>
          ))}
        </details>
        {state === "streaming" && <button onClick={cancel}>Cancel</button>}
        {photo && state !== "streaming" && <button onClick={() => caption(photo)}>Caption again</button>}
      </form>
      <p aria-live="polite" data-state={state}>
        {state === "error" && error ? error.message : state}
      </p>
      {photo && <Preview photo={photo} />}
      <div className="cards">
        {Object.entries(items).map(([name, item]) => item && <Card key={name} name={name} item={item} />)}
      </div>
    </div>
  );
}

function Preview({ photo }: { photo: File }) {
  const [address, setAddress] = useState("");
  useEffect(() => {
    const created = URL.createObjectURL(photo);
    setAddress(created);
    return () => URL.revokeObjectURL(created);
  }, [photo]);
  return address && <img src={address} alt="The photo that is captioned" />;
}

function Card({ name, item }: { name: string; item: Item }) {
  return (
    <article data-perspective={name} data-state={item.state} aria-busy={item.state === "streaming"}>
      <h2>
        {name} <small>{item.state === "streaming" ? (item.stage ?? "waiting") : item.state}</small>
      </h2>
      {item.error && (
        <p role="alert">
          {item.error.message}
          {item.error.retryable && " The same request may succeed later."}
        </p>
      )}
      <dl>
        {Object.entries(item.partial ?? {}).map(([field, value]) => (
          <div key={field}>
            <dt>{field}</dt>
            <dd>{typeof value === "string" ? value : JSON.stringify(value)}</dd>
          </div>
        ))}
      </dl>
      {item.caption?.warnings.map((warning) => <small key={warning}>{warning}</small>)}
    </article>
  );
}
