import { Bridge, type SocketState } from "@graphcap/bridge";
import { useSyncExternalStore } from "react";

export const bridge = new Bridge({ baseUrl: import.meta.env.VITE_BRIDGE_URL ?? "http://127.0.0.1:32100" });

const listeners = new Set<() => void>();
let state: SocketState = "closed";

/** One connection for the whole application. It connects again when a request needs it. */
export const socket = bridge.connect({
  onStateChange(next) {
    state = next;
    listeners.forEach((listener) => listener());
  },
});

/** Return the state of the connection, and render again when it changes. */
export function useSocketState(): SocketState {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => state,
  );
}

/** The WebSocket, or plain HTTP with `?over=http` in the address. */
export const captioner = new URLSearchParams(location.search).get("over") === "http" ? bridge : socket;
