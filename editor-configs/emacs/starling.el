;;; starling.el --- Starling through lsp-mode's inline completion  -*- lexical-binding: t; -*-

;; Needs an lsp-mode with `lsp-inline-completion-enable'.

(require 'lsp-mode)

(defcustom starling-command '("starling-lsp")
  "Program and arguments of the language server."
  :type '(repeat string)
  :group 'lsp-mode)

(lsp-register-client
 (make-lsp-client
  :new-connection (lsp-stdio-connection (lambda () starling-command))
  :activation-fn (lambda (&rest _) t)
  :add-on? t                            ; beside the language's own server
  :priority -1
  :server-id 'starling
  :notification-handlers
  (lsp-ht ("starling/status"
           (lambda (_workspace status)
             (when (equal (gethash "kind" status) "error")
               (message "Starling: %s" (gethash "message" status))))))))

(setq lsp-inline-completion-enable t)
(add-hook 'lsp-mode-hook #'lsp-inline-completion-mode)

(provide 'starling)
;;; starling.el ends here
