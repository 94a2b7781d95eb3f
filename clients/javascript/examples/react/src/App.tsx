import { usePerspectives } from "@graphcap/bridge/react";
import { useState } from "react";
import { bridge, useSocketState } from "./bridge";
import { Captions } from "./Captions";

export function App() {
  const [view, setView] = useState<"captions" | "perspectives">("captions");
  const { state, perspectives, error, reload } = usePerspectives(bridge);
  const connection = useSocketState();
  return (
    <main>
      <header>
        <h1>Captions of a photo</h1>
        <nav>
          <button aria-pressed={view === "captions"} onClick={() => setView("captions")}>
            Captions
          </button>
          <button aria-pressed={view === "perspectives"} onClick={() => setView("perspectives")}>
            Perspectives
          </button>
        </nav>
        <span role="status">{connection}</span>
      </header>
      {state === "loading" && <p>Loading the perspectives…</p>}
      {error && (
        <p role="alert">
          {error.message} <button onClick={reload}>Try again</button>
        </p>
      )}
      {state === "done" && view === "captions" && <Captions perspectives={perspectives} />}
      {state === "done" && view === "perspectives" && (
        <dl>
          {perspectives.map((perspective) => (
            <div key={perspective.name}>
              <dt>{perspective.display_name}</dt>
              <dd>{perspective.description}</dd>
            </div>
          ))}
        </dl>
      )}
    </main>
  );
}
