// The API's page, by Swagger UI; every address is relative, so that a proxy may publish it anywhere.
window.addEventListener("load", () => {
  SwaggerUIBundle({
    url: "openapi.json",
    dom_id: "#page",
    deepLinking: true,
    defaultModelsExpandDepth: 0,
    presets: [SwaggerUIBundle.presets.apis],
    validatorUrl: null,
  });
});
