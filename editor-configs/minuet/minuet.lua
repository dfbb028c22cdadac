-- minuet-ai.nvim, for a running serve-copilot; in Neovim the plugin in ../neovim needs neither.
require('minuet').setup({
  provider = 'openai_fim_compatible',
  n_completions = 1,
  context_window = 8000,
  provider_options = {
    openai_fim_compatible = {
      name = 'Starling',
      end_point = 'http://127.0.0.1:8077/v1/completions',
      api_key = 'TERM', -- any variable that is set: the server asks for no key
      model = 'starling',
      optional = { max_tokens = 64 },
    },
  },
})
